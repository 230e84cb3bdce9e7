"""Write the page of a run."""

from pathlib import Path

from tqdm import tqdm

from sarigan.errors import InputError
from sarigan.files.atomic_file import replace_file
from sarigan.files.run_record import RunRecord
from sarigan.systems.system import System
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
    run: RunRecord, method: str, resolution: int, system: System, checkpoint: str, path: Path
) -> int:
    """Write the page, whole or not at all; returns its bytes."""
    makers = [
        lambda: samples_section(run),
        lambda: curves_section(run, system.report_curves()),
        lambda: metrics_section(run),
        lambda: locality_section(run),
        *system.report_sections(),
        lambda: configuration_section(run),
    ]
    sections: list[Section] = [make() for make in tqdm(makers, desc="report", unit="section")]
    footer = f"{checkpoint}; figures with averaged weights."
    name = run.folder.resolve().name
    page = make_page(f"Run {name}", introduction(run, method, resolution), sections, footer).encode()
    if len(page) > MAX_BYTES:
        raise InputError(f"{path}: the page would have {len(page) / 1e6:.1f} MB, at most {MAX_BYTES / 1e6:g} MB are right")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, lambda file: file.write(page))
    except OSError as error:
        raise InputError(f"{path}: cannot write the page ({error.strerror})") from None
    return len(page)
