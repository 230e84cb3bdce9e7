"""Examine this machine: sarigan doctor [--config configs/avatars_64_sarigan.yaml] [section.key=value ...].

Exit code 1 when something will not work.
"""

import argparse
from pathlib import Path

from sarigan.config import load_config
from sarigan.diagnosis.doctor import examine
from sarigan.errors import exit_on_input_error

MARKS = {"ok": "ok  ", "note": "note", "bad": "BAD "}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, help="whose data and method to check; default: the built-in avatars")
    parser.add_argument("--run-dir", type=Path, help="where the run would go; default runs/<name of the config>, as of train")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    arguments = parser.parse_intermixed_args()
    with exit_on_input_error():
        overrides = arguments.overrides
        if arguments.config is None:
            overrides = ["generator.resolution=64", *overrides]
        config = load_config(arguments.config, overrides)
        run_dir = arguments.run_dir or Path("runs") / (arguments.config.stem if arguments.config else "")
        findings = []
        for finding in examine(config, run_dir):
            findings.append(finding)
            print(f"{MARKS[finding.verdict]} {finding.subject:<9} {finding.text}", flush=True)
    bad = sum(finding.verdict == "bad" for finding in findings)
    print("verdict: ready to train" if not bad else f"verdict: {bad} thing(s) to put right first")
    if bad:
        raise SystemExit(1)
