"""Channel awareness: which channels a class uses, and what they are good for (docs/channel-awareness.md).

sarigan channel_awareness measure RUN                         # any generator with classes: a table, and overlaps of classes
sarigan channel_awareness edit RUN --layer 16x16.up --class red
sarigan channel_awareness hybrid RUN --class red --other-class black
sarigan channel_awareness keep RUN                            # of avatars: do the strongest channels carry the class?
sarigan channel_awareness segment RUN --class red --clusters 5
sarigan channel_awareness quality RUN --evaluation FILE       # totals against what sarigan evaluate wrote
All but `measure` and `quality` need class-conditional normalisation (system: class_conditional).
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor

from sarigan.analysis.awareness_report import DEFAULT_TOP, awareness_record, awareness_table, measure_awareness
from sarigan.analysis.awareness_segmentation import aligned, check_clusters, layer_weights, matched_iou, segmented, weights_test
from sarigan.analysis.channel_effects import channel_effect, generated, part_lift, strongest_channels
from sarigan.analysis.class_hybrid import RESTS, RULES, check_layers, chosen_channels, hybrid_images, keep_curve
from sarigan.analysis.class_overlap import check_top
from sarigan.analysis.class_quality import class_results, rank_correlation, total_awareness
from sarigan.analysis.conditional_channels import ConditionalChannels, mean_awareness
from sarigan.analysis.part_iou import PartMasks, segmented_avatars
from sarigan.commands.options import as_file_name, parse_numbers, require_at_least, require_finite_truncation
from sarigan.device import resolve_device
from sarigan.editing.seeds import parse_seeds
from sarigan.errors import InputError, exit_on_input_error
from sarigan.files.paths import output_folder, replace_text
from sarigan.layers.intervention import ChannelEdit
from sarigan.metrics.class_control import class_readers
from sarigan.metrics.groups.permutation_null import without_nan
from sarigan.models.generator import Generator
from sarigan.pretrained import data_name, data_setting, load_generator_and_record
from sarigan.progress import progress_bar
from sarigan.visualization.channel_sheets import class_rows_sheet, hybrid_sheet, matrix_sheet, segmentation_sheet
from sarigan.visualization.editing import Strip, strip_sheet


@dataclass
class Job:
    """The options, what they open, and where results go."""

    options: argparse.Namespace
    generator: Generator
    record: dict[str, Any]
    folder: Path

    @property
    def seeds(self) -> list[int]:
        """Of the images that are made."""
        return parse_seeds(self.options.seeds)

    @property
    def shows_avatars(self) -> bool:
        """Whether its data are avatars, which the built-in networks read."""
        return data_name(self.record) == "avatars"

    def channels(self) -> ConditionalChannels:
        """The class-conditional layers; InputError where there are none."""
        return ConditionalChannels(self.generator, self.options.truncation)

    def tables(self, model: ConditionalChannels) -> dict[str, Tensor]:
        """A [K,C] of every layer, the mean over latents."""
        return mean_awareness(model, range(self.options.latents))

    def layers(self, model: ConditionalChannels) -> Sequence[str]:
        """--layers; InputError listing those there are."""
        known = model.num_channels
        return list(known) if self.options.layers == "all" else check_layers(self.options.layers.split(","), known)

    def tops(self, model: ConditionalChannels, layers: Sequence[str]) -> list[int]:
        """--tops, else six numbers from 0 to the channels of the widest layer."""
        widest = max(model.num_channels[layer] for layer in layers)
        return parse_seeds(self.options.tops) if self.options.tops else sorted({0, *(widest >> k for k in range(5))})

    def save(self, values: Mapping[str, Any], *name: object) -> None:
        """A JSON record, atomically; the parts of its name are joined by `_`."""
        path = self._path(name, ".json")
        record = {"checkpoint": str(self.options.checkpoint), **without_nan(dict(values))}
        replace_text(path, json.dumps(record, indent=1) + "\n")
        print(path)

    def show(self, sheet: Any, *name: object) -> None:
        """A sheet, named in the same way."""
        path = self._path(name, ".png")
        sheet.save(path)
        print(path)

    def _path(self, name: Sequence[object], ending: str) -> Path:
        # A class may be called `shirt/top`.
        return self.folder / ("_".join(as_file_name(str(part)) for part in name) + ending)


def measure(job: Job) -> None:
    """A table of all layers, awareness.json and overlap.png."""
    options = job.options
    require_at_least(options, 2, "permutations")
    found = measure_awareness(job.generator, range(options.latents), options.top, options.permutations, options.truncation)
    names = job.generator.config.class_names
    print(awareness_table(found))
    job.save(awareness_record(found, names, options.latents), "awareness")
    caption = f"Similarity of classes by their channels, 0 dark to 1 bright. Rows and columns: {', '.join(names)}."
    job.show(matrix_sheet({name: layer.overlap.matrices for name, layer in found.items()}, "Classes", caption), "overlap")


def edit(job: Job) -> None:
    """A strip a channel, and a line that says what each changes."""
    options, model = job.options, job.channels()
    (layer,) = check_layers([options.layer], model.num_channels)
    label, amounts = job.generator.class_index(options.class_name), parse_numbers(options.amounts, "--amounts")
    count = min(DEFAULT_TOP, model.num_channels[layer]) if options.strongest is None else options.strongest
    check_top(count, model.num_channels[layer], layer, "--strongest")
    tables = job.tables(model)
    chosen = parse_seeds(options.channels) if options.channels else strongest_channels(tables[layer][label], count)
    labels = torch.full((len(job.seeds),), label)
    ChannelEdit(layer, max(chosen), options.operation, amounts[0]).check({}, model.num_channels)
    originals = generated(model, job.seeds, labels)
    masks = segmented_avatars(originals) if job.shows_avatars else None
    strips, still = [], [0] * len(amounts)
    for channel in chosen:
        effects = [
            channel_effect(model, job.seeds, labels, ChannelEdit(layer, channel, options.operation, amount), originals)
            for amount in amounts
        ]
        strips.append(Strip(f"channel {channel}", [effect.images[:1] for effect in effects], effects[-1].map))
        still = [count + effect.does_nothing for count, effect in zip(still, effects, strict=True)]
        changes = ", ".join(f"{amount:g}: {effect.change:.2f}" for amount, effect in zip(amounts, effects, strict=True))
        where = "" if masks is None else _most_changed(effects[-1].images, originals, masks)
        print(f"channel {channel}: A {tables[layer][label, channel]:.3f}, change at {changes}{where}", flush=True)
    kind = "times" if options.operation == "scale" else "plus"
    counts = ", ".join(f"{count} at {kind} {amount:g}" for count, amount in zip(still, amounts, strict=True))
    print(f"of {len(chosen)} channels these many change less than one grey level of 255 on average: {counts}")
    title = f"Channels of {layer}, class {options.class_name}"
    caption = f"Columns: {kind} this number after ReLU. Channels by awareness, strongest first." if not options.channels else ""
    sheet = strip_sheet(originals[:1], f"seed {job.seeds[0]}", strips, amounts, len(job.seeds), title, caption)
    job.show(sheet, "edit", layer, options.class_name, options.operation)


def _most_changed(images: Tensor, originals: Tensor, masks: PartMasks) -> str:
    lift = part_lift((images - originals).abs().mean(dim=1), masks.masks, len(masks.names)).nan_to_num()
    return f", mostly {masks.names[int(lift.argmax())]} ({float(lift.max()):.1f} times its share)"


def hybrid(job: Job) -> None:
    """A row a seed, a column a number of channels."""
    options, model = job.options, job.channels()
    first, second = (job.generator.class_index(name) for name in (options.class_name, options.other_class))
    layers, z, tables = job.layers(model), model.latents(job.seeds), job.tables(model)
    columns = {options.class_name: generated(model, job.seeds, torch.full((len(z),), first))}
    for top in job.tops(model, layers):
        chosen = chosen_channels(tables, layers, options.rule, top, against=first)
        columns[f"K = {top}"] = hybrid_images(model, z, first, second, chosen).float().cpu()
    columns[options.other_class] = generated(model, job.seeds, torch.full((len(z),), second))
    caption = (
        f"Images of {options.class_name} whose K channels a layer that matter most to {options.other_class} (by"
        f" {options.rule}) have its gains and biases, in {'all layers' if options.layers == 'all' else options.layers}."
    )
    sheet = hybrid_sheet(columns, [f"seed {seed}" for seed in job.seeds], "Hybrids", caption)
    job.show(sheet, "hybrid", options.class_name, options.other_class, options.rule)


def keep(job: Job) -> None:
    """Curves of accuracy over K, and keep.json."""
    options, model = job.options, job.channels()
    names = job.generator.config.class_names
    require_at_least(options, 1, "draws")
    if not job.shows_avatars:
        raise InputError("channel_awareness keep needs a generator of avatars, whose classes the built-in networks read")
    readers = class_readers(data_setting(job.record, "labels") or "", names, job.generator.mean_latent.device)
    read = list(readers.values())[-1]  # colours, where classes are colours: they tell more classes apart
    layers, tables = job.layers(model), job.tables(model)
    tops = job.tops(model, layers)
    curves: dict[str, Any] = {}
    rules = {rule: range(options.draws if rule == "random" else 1) for rule in RULES}
    total = len(RESTS) * sum(map(len, rules.values())) * len(tops) * len(names) * len(job.seeds)
    with progress_bar(total=total, desc="images", unit="img") as bar:
        for rest in RESTS:
            for rule, draws in rules.items():
                runs = [
                    keep_curve(model, tables, layers, read, job.seeds, tops, rule, rest, draw, bar.update) for draw in draws
                ]
                means = [fmean(values) for values in zip(*runs, strict=True)]
                spread = [stdev(values) if len(values) > 1 else 0.0 for values in zip(*runs, strict=True)]
                curves[f"{rule}, rest {rest}"] = {"accuracy": means, "deviation": spread}
    print(f"{'kept channels a layer':24}" + "".join(f"{top:>8}" for top in tops))
    for name, curve in curves.items():
        print(f"{name:24}" + "".join(f"{value:8.3f}" for value in curve["accuracy"]))
    job.save({"layers": layers, "tops": tops, "images_a_class": len(job.seeds), "curves": curves}, "keep")


def segment(job: Job) -> None:
    """A row an image; of avatars with the segmenter's parts, and the IoU with them."""
    options, model = job.options, job.channels()
    label, layers = job.generator.class_index(options.class_name), job.layers(model)
    require_at_least(options, 2, "permutations")
    require_at_least(options, 1, "rows")
    check_clusters(options.clusters, model.resolution)
    z, labels = model.latents(job.seeds), torch.full((len(job.seeds),), label)
    images, features = model.generate(z, labels.to(z.device))
    images = images.float().cpu().clamp(-1, 1)
    masks = segmented_avatars(images) if job.shows_avatars else None
    weights = layer_weights(job.tables(model), layers, labels)
    kept = {layer: features[layer] for layer in layers}
    weighted, unweighted = (segmented(kept, some, model.resolution, options.clusters) for some in (weights, None))
    maps, colours = {"weighted": weighted, "no weights": unweighted}, "one a cluster"
    if masks is not None:
        parts, count, colours = masks.masks, len(masks.names), "the part that a cluster matches"
        test = weights_test(kept, weights, weighted, parts, options.clusters, options.permutations)
        unweighted_iou = matched_iou(unweighted, parts)
        maps = {"segmenter": parts, **{name: aligned(some, parts, count) for name, some in maps.items()}}
        print(
            f"mean IoU with the parts of the {masks.source}: weighted {test.score:.3f}, without weights"
            f" {unweighted_iou:.3f}, random weights {test.null_mean:.3f} +- {test.null_deviation:.3f} (p {test.p:.3f})"
        )
        record = {"layers": list(layers), "num_images": len(z), "weighted": asdict(test), "unweighted": unweighted_iou}
        job.save(record, "segment", options.class_name, options.clusters)
    shown = slice(0, options.rows)
    sheet = segmentation_sheet(
        images[shown], {name: some[shown] for name, some in maps.items()}, [f"seed {seed}" for seed in job.seeds[shown]],
        f"{options.clusters} clusters, class {options.class_name}",
        f"k-means of the features after ReLU, weighted by awareness, in each image. Colours: {colours}.",
    )  # fmt: skip
    job.show(sheet, "segment", options.class_name, options.clusters)


def quality(job: Job) -> None:
    """Classes in the order of their total awareness, and its rank correlations with what an evaluation found."""
    options, model = job.options, job.channels()
    names = job.generator.config.class_names
    results = class_results(options.evaluation, names)
    totals, record = total_awareness(job.tables(model)), {}
    for name, values in results.items():
        found = rank_correlation(totals, values)
        record[name] = asdict(found)
        interval = f"[{found.low:+.2f}, {found.high:+.2f}]"
        print(f"{name}: Spearman {found.value:+.2f} {interval}, p {found.p:.3f}, {len(names)} classes")
    rows = {}
    for label in totals.argsort(descending=True).tolist():
        numbers = ", ".join(f"{name} {float(values[label]):.3g}" for name, values in results.items())
        key = f"{names[label]}: T {float(totals[label]):.1f}"
        rows[key] = generated(model, job.seeds, torch.full((len(job.seeds),), label))
        print(f"{key}, {numbers}")
    job.save({"total": dict(zip(names, totals.tolist(), strict=True)), "correlations": record}, "quality")
    job.show(class_rows_sheet(rows, "Classes by total awareness", "T: A summed over channels and layers."), "quality")


KINDS = {"measure": measure, "edit": edit, "hybrid": hybrid, "keep": keep, "segment": segment, "quality": quality}


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    subs = {name: kinds.add_parser(name, help=(function.__doc__ or "").strip()) for name, function in KINDS.items()}
    for name, sub in subs.items():
        sub.add_argument("checkpoint", type=Path, help="a run directory, a checkpoint file or a model")
        sub.add_argument("--latents", type=int, default=64, help="that awareness is averaged over; default 64")
        sub.add_argument("--truncation", type=float, default=1.0, metavar="PSI", help="of z (style: of w); default 1: off")
        sub.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
        sub.add_argument("--output", type=Path, default=Path("out/channel_awareness"), metavar="DIR")
        if name != "measure":
            count = {"hybrid": "0-5", "quality": "0-7"}.get(name, "0-15")
            sub.add_argument("--seeds", default=count, help=f"of the images; default {count}")
        if name in ("edit", "hybrid", "segment"):
            sub.add_argument("--class", dest="class_name", required=True, metavar="NAME", help="of the images")
        if name in ("hybrid", "keep", "segment"):
            sub.add_argument("--layers", default="all", help="names separated by commas, or all")
        if name in ("measure", "segment"):
            sub.add_argument("--permutations", type=int, default={"measure": 1000}.get(name, 20), help="for the null")
    subs["measure"].add_argument("--top", type=int, help=f"a class's strongest channels; default {DEFAULT_TOP}, or all")
    subs["edit"].add_argument("--layer", required=True, help="as 16x16.up; the channels are those of its input, after ReLU")
    subs["edit"].add_argument("--channels", metavar="J", help="as 3,17; default: the strongest of the class")
    subs["edit"].add_argument("--strongest", type=int, metavar="N", help=f"how many; default {DEFAULT_TOP}, or all")
    subs["edit"].add_argument("--operation", choices=("scale", "shift"), default="scale")
    subs["edit"].add_argument("--amounts", default="0,0.5,2,4,8", help="times (scale) or plus (shift); default 0,0.5,2,4,8")
    subs["hybrid"].add_argument("--other-class", required=True, metavar="NAME", help="whose channels are taken")
    subs["hybrid"].add_argument("--rule", choices=RULES, default="awareness", help="which channels matter to a class")
    for name in ("hybrid", "keep"):
        subs[name].add_argument("--tops", metavar="K", help="channels a layer, as 0,4,16; default: 0 to all")
    subs["keep"].add_argument("--draws", type=int, default=3, help="of random channels; default 3")
    subs["segment"].add_argument("--clusters", type=int, default=5)
    subs["segment"].add_argument("--rows", type=int, default=6, help="images on the sheet; the numbers are of all seeds")
    subs["quality"].add_argument("--evaluation", type=Path, required=True, metavar="FILE", help="JSON of sarigan evaluate")
    return parser.parse_args()


def main() -> None:
    options = parse()
    with exit_on_input_error(), output_folder(options.output):
        require_at_least(options, 2, "latents")
        require_finite_truncation(options)
        generator, record = load_generator_and_record(options.checkpoint, resolve_device(options.device, "--device"))
        KINDS[options.kind](Job(options, generator, record, options.output))
