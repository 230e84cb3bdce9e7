"""What a run was trained on: the set by path and hash, its shape, real images, and whether samples repeat it."""

import html
from collections.abc import Callable

import torch

from sarigan.data.labels import class_shares
from sarigan.data.loader import ImageDataset
from sarigan.errors import InputError
from sarigan.files.picture import BrokenPicture, opened_picture, read_picture
from sarigan.files.run_record import REALS_NAME, RunRecord
from sarigan.systems.system import System
from sarigan.visualization.nearest_images import neighbours_sheet
from sarigan.visualization.report.page import Section, data_uri, figure, table

NUM_SAMPLES, FEW_SAMPLES, SMALL_SET = 64, 8, 20_000  # generators copy small sets
MAX_CLASSES = 30
SIDE = 768  # of the grid of real images, in pixels


def data_section(run: RunRecord, opened: Callable[[], ImageDataset], system: System) -> Section:
    """opened: opens the data set, or raises InputError where it is no longer there; then the page says so."""
    body = ""
    try:
        with opened_picture(read_picture(run.folder / REALS_NAME)) as picture:
            body += figure(data_uri(picture, 82, SIDE), "Grid of real images", "Real images, as training sees them")
    except (BrokenPicture, OSError):  # a run of an earlier version
        pass
    try:
        dataset = opened()
        body = f"<p>{html.escape(_shape(dataset))}</p>{_classes(dataset)}{body}{_neighbours(dataset, system)}"
    except InputError as error:
        body = f"<p>The data cannot be read here: {html.escape(str(error))}.</p>{body}"
    return Section("data", "The data", body)


def _shape(dataset: ImageDataset) -> str:
    key = getattr(dataset, "content_key", None)
    return dataset.describe() + (f"; key {key}" if key else "")


def _classes(dataset: ImageDataset) -> str:
    shares = class_shares(dataset)
    if not shares:
        return ""
    rows = [[name, f"{share:.1%}"] for name, share in sorted(shares.items(), key=lambda item: -item[1])]
    more = f"<p>and {len(rows) - MAX_CLASSES} more classes</p>" if len(rows) > MAX_CLASSES else ""
    return table(["class", "share of the images"], rows[:MAX_CLASSES], (1,)) + more


def _neighbours(dataset: ImageDataset, system: System) -> str:
    """Samples over their nearest training images, where both are of one size."""
    if len(dataset) < 2:
        return ""
    with torch.no_grad():
        count = NUM_SAMPLES if len(dataset) < SMALL_SET else FEW_SAMPLES
        samples = torch.cat(list(system.generated_images(count, FEW_SAMPLES))).float().cpu()
    if not len(samples) or samples.shape[1:] != dataset[0].shape:
        return ""
    sheet, text = neighbours_sheet(samples, dataset)
    return figure(data_uri(sheet), "Generated images over the training images nearest to them", text, sheet.width)
