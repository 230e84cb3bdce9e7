"""Write the page of a run."""

import os
from pathlib import Path

from tqdm import tqdm

from sarigan.editing.sampling import Sampling
from sarigan.errors import InputError
from sarigan.files.run_record import RunRecord
from sarigan.models.generator import Generator
from sarigan.visualization.report.model_sections import attention_section, edits_section, mixing_section
from sarigan.visualization.report.page import Section, make_page
from sarigan.visualization.report.run_sections import (
    configuration_section,
    curves_section,
    introduction,
    locality_section,
    metrics_section,
    samples_section,
)

MAX_BYTES = 15_000_000


def write_report(
    run: RunRecord,
    generator: Generator,
    checkpoint: str,
    path: Path,
    labels: dict[str, dict[int, str]] | None = None,
    label_note: str = "",
    sampling: Sampling | None = None,
) -> int:
    """Write the page, whole or not at all; returns its bytes. labels: layer -> group -> the part it matches best."""
    sampling = sampling or Sampling()
    labels = labels or {}
    makers = [
        lambda: samples_section(run),
        lambda: curves_section(run),
        lambda: metrics_section(run),
        lambda: attention_section(generator, sampling, labels, label_note),
        lambda: locality_section(run),
        lambda: edits_section(generator, sampling, labels),
        lambda: mixing_section(generator, sampling),
        lambda: configuration_section(run),
    ]
    sections: list[Section] = [make() for make in tqdm(makers, desc="report", unit="section")]
    footer = f"{checkpoint}; figures with averaged weights and truncation psi {sampling.truncation_psi:g}."
    name = run.folder.resolve().name
    page = make_page(f"Run {name}", introduction(run), sections, footer).encode()
    if len(page) > MAX_BYTES:
        raise InputError(f"{path}: the page would have {len(page) / 1e6:.1f} MB, at most {MAX_BYTES / 1e6:g} MB are right")
    partial = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(page)
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f"{path}: cannot write the page ({error.strerror})") from None
    return len(page)
