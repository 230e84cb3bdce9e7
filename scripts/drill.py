"""Drills: break something on purpose, many times, and check that nothing is lost.

python scripts/drill.py prepare --times 20 [--source PATH] [--resolution R]     kill a preparation, run it again
"""

import argparse
import sys
import tempfile
from pathlib import Path

from sarigan.data.prepare.drill import drill_preparation
from sarigan.errors import exit_on_input_error

PREPARE_SCRIPT = Path(__file__).with_name("prepare_data.py")


def drill_prepare(arguments: argparse.Namespace) -> bool:
    """Print a line a kill; whether all of them ended well."""
    options = ["--resolution", str(arguments.resolution), "--workers", str(arguments.workers), "--commit-megabytes", "2"]
    if arguments.num_images or arguments.source == "avatars":
        options += ["--num-images", str(arguments.num_images or 2000)]
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        command = [sys.executable, str(PREPARE_SCRIPT), *options, arguments.source]
        expected, kills = drill_preparation(command, Path(folder) / "set", arguments.times, arguments.seed)
    print(f"without a kill: hash {expected}")
    all_well = True
    for number, kill in enumerate(kills, start=1):
        well = kill.content_hash == expected and not kill.orphans and not kill.mistaken
        all_well &= well
        saved = "none" if kill.num_entries is None else str(kill.num_entries)
        print(
            f"{number:3} killed after {kill.seconds:6.2f} s, {saved:>7} entries saved, hash"
            f" {'the same' if kill.content_hash == expected else kill.content_hash}"
            f"{', A WORKER SURVIVED' if kill.orphans else ''}{', MISTAKEN FOR FINISHED' if kill.mistaken else ''}"
        )
    print(f"{len(kills)} kills: {'all well' if all_well else 'NOT WELL'}")
    return all_well


def main() -> None:
    """Parse and run one drill; exit code 1 when it fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    drills = parser.add_subparsers(dest="drill", required=True)
    prepare = drills.add_parser("prepare", help="SIGKILL a preparation at random moments")
    prepare.add_argument("--times", type=int, default=20)
    prepare.add_argument("--source", default="avatars", help="as for prepare_data.py (default: the built-in avatars)")
    prepare.add_argument("--resolution", type=int, default=64)
    prepare.add_argument("--num-images", type=int, help="at most (default: all; 2000 avatars)")
    prepare.add_argument("--workers", type=int, default=2)
    prepare.add_argument("--seed", type=int, default=0, help="of the moments")
    prepare.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    arguments = parser.parse_args()
    with exit_on_input_error():
        if not drill_prepare(arguments):
            raise SystemExit(1)


if __name__ == "__main__":
    main()
