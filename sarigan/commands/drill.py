"""Drills: break something on purpose, many times, and check that nothing is lost.

sarigan drill prepare --times 20 [--source PATH] [--resolution R]     kill a preparation, run it again
sarigan drill kill --times 100 [--ranks 2]      SIGKILL of a rank or of all of a tiny training, many during a save
sarigan drill corrupt --times 200               bits flipped in a checkpoint, files cut off
sarigan drill hang                              SIGSTOP of every rank in turn
sarigan drill network                           a network cut between two ranks in namespaces of their own
"""

import argparse
import sys
import tempfile
from pathlib import Path

from sarigan.diagnosis.drill import NamespacesRefusedError, drill_corruption, drill_hang, drill_kills, drill_network_cut
from sarigan.diagnosis.prepare_drill import drill_preparation
from sarigan.errors import exit_on_input_error


def drill_prepare(arguments: argparse.Namespace, folder: Path) -> bool:
    """Print a line a kill; whether all of them ended well."""
    options = ["--resolution", str(arguments.resolution), "--workers", str(arguments.workers), "--commit-megabytes", "2"]
    if arguments.num_images or arguments.source == "avatars":
        options += ["--num-images", str(arguments.num_images or 2000)]
    command = [sys.executable, "-m", "sarigan", "prepare_data", *options, arguments.source]
    expected, kills = drill_preparation(command, folder / "set", arguments.times, arguments.seed)
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


def drill_kill(arguments: argparse.Namespace, folder: Path) -> bool:
    """Print a line a kill; whether all of them ended well."""
    well, count = True, 0
    for count, kill in enumerate(drill_kills(folder, arguments.times, arguments.ranks, arguments.seed), start=1):
        well &= kill.well
        end = {None: "", True: ", then to the end: identical", False: ", then to the end: NOT IDENTICAL"}[kill.identical]
        print(
            f"{count:3} killed {kill.victim:>6} {'in a save' if kill.saving else 'at random'}, newest good checkpoint:"
            f" {'none yet' if kill.step is None else f'step {kill.step}'}"
            f"{f', {kill.damaged} DAMAGED' if kill.damaged else ''}{', LOST SOME' if kill.lost else ''}"
            f"{', NOT NAMED' if kill.named is False else ''}{end}",
            flush=True,
        )
    print(f"{count} kills: {'all well' if well else 'NOT WELL'}")
    return well


def drill_corrupt(arguments: argparse.Namespace, folder: Path) -> bool:
    """Whether every damage was noticed; prints those that were not."""
    done = drill_corruption(folder, arguments.times, arguments.seed)
    missed = [what for what, noticed in done if not noticed]
    for what in missed:
        print(f"NOT NOTICED: {what}")
    print(f"{len(done)} damaged checkpoints: {'all noticed' if not missed else f'{len(missed)} NOT NOTICED'}")
    return not missed


def drill_hanging(arguments: argparse.Namespace, folder: Path) -> bool:
    """Whether every stopped rank was named."""
    well = True
    for rank, seconds, named, failed in drill_hang(folder, arguments.ranks):
        well &= named and failed
        what = "named" if named else "NOT NAMED"
        print(f"rank {rank} stopped: {what}, the others ended after {seconds:.1f} s", flush=True)
    return well


def drill_network(arguments: argparse.Namespace, folder: Path) -> bool:
    """Whether a cut was named on both sides; true, with the reason, where the machine does not allow namespaces."""
    try:
        lines = drill_network_cut(folder)
    except NamespacesRefusedError as error:
        print(f"skipped: {error}")
        return True
    for line in lines:
        print(line)
    return bool(lines) and all("NOT NAMED" not in line for line in lines)


DRILLS = {
    "prepare": drill_prepare, "kill": drill_kill, "corrupt": drill_corrupt, "hang": drill_hanging, "network": drill_network,
}  # fmt: skip


def main() -> None:
    """Parse and run one drill; exit code 1 when it fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    drills = parser.add_subparsers(dest="drill", required=True)
    prepare = drills.add_parser("prepare", help="SIGKILL a preparation at random moments")
    prepare.add_argument("--times", type=int, default=20)
    prepare.add_argument("--source", default="avatars", help="as for prepare_data (default: the built-in avatars)")
    prepare.add_argument("--resolution", type=int, default=64)
    prepare.add_argument("--num-images", type=int, help="at most (default: all; 2000 avatars)")
    prepare.add_argument("--workers", type=int, default=2)
    kill = drills.add_parser("kill", help="SIGKILL ranks of a tiny training")
    kill.add_argument("--times", type=int, default=3)
    kill.add_argument("--ranks", type=int, default=2)
    corrupt = drills.add_parser("corrupt", help="damage checkpoint files")
    corrupt.add_argument("--times", type=int, default=200)
    hang = drills.add_parser("hang", help="SIGSTOP ranks of a tiny training")
    hang.add_argument("--ranks", type=int, default=2)
    network = drills.add_parser("network", help="cut the network between two ranks")
    for drill in (prepare, kill, corrupt, hang, network):
        drill.add_argument("--seed", type=int, default=0, help="of the moments")
        drill.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    arguments = parser.parse_args()
    with exit_on_input_error():
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            well = DRILLS[arguments.drill](arguments, Path(folder))
        if not well:
            raise SystemExit(1)
