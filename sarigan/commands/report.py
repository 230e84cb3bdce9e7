"""One self-contained HTML page that shows a run: sarigan report runs/quickstart (docs/editing.md).

Writes <run>/report.html: samples over time, curves, metrics, what groups respond to, edits, style mixing, configuration.
"""

import argparse
from pathlib import Path

from sarigan.device import resolve_device
from sarigan.errors import exit_on_input_error
from sarigan.files.checkpoint import resolve_checkpoint
from sarigan.files.paths import output_file
from sarigan.files.run_record import read_run
from sarigan.pretrained import load_system, require_run
from sarigan.visualization.report.run_sections import write_report


def main() -> None:
    parser = argparse.ArgumentParser(description="Write one HTML page that shows a run.")
    parser.add_argument("run", type=Path, help="a run directory")
    parser.add_argument("--output", type=Path, metavar="FILE.html", help="default <run>/report.html")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    options = parser.parse_args()
    with exit_on_input_error():
        require_run(options.run)
        run = read_run(options.run)
        file = resolve_checkpoint(options.run)
        path = options.output or options.run / "report.html"
        with output_file(path):
            system, config = load_system(file, resolve_device(options.device, "--device"))
            size = write_report(run, config.method(), config.resolution, system, file.name, path, lambda: config.open_data()[1])
        print(f"report: {path.resolve().as_uri()} ({size / 1e6:.1f} MB)")
