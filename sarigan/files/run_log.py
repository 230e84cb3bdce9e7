"""The log of a run: one JSON line a tick, and the same in TensorBoard."""

import json
from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from sarigan.files.atomic_file import replace_text
from sarigan.files.reading import json_object


class RunLogger:
    """Appends to <run>/log.jsonl and <run>/tensorboard. Lines of steps after `resume_step` are dropped first."""

    def __init__(self, run_dir: Path, resume_step: int = 0) -> None:
        self.path, self.folder = run_dir / "log.jsonl", run_dir / "tensorboard"
        self.writer = self._opened(resume_step)

    def _opened(self, step: int) -> SummaryWriter:
        if self.path.exists():
            lines = [line for line in self.path.read_bytes().splitlines() if _step(line) <= step]
            replace_text(self.path, "".join(f"{line.decode()}\n" for line in lines))
        return SummaryWriter(str(self.folder), purge_step=step + 1 if step else 0)

    def drop_after(self, step: int) -> None:
        """Forget what was logged of later steps, which are made anew."""
        self.writer.close()
        self.writer = self._opened(step)

    def log(self, step: int, kimg: float, seconds: float, scalars: dict[str, float]) -> None:
        """One tick: kimg thousand images seen, seconds of training over all starts."""
        with open(self.path, "a") as file:
            file.write(json.dumps({"step": step, "kimg": kimg, "seconds": round(seconds, 2), **scalars}) + "\n")
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, step)

    def log_image(self, step: int, name: str, image: np.ndarray) -> None:
        """image uint8 [H,W,3]."""
        self.writer.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        """Flush everything."""
        self.writer.close()


def _step(line: bytes) -> float:
    """The step of a line; a line that a crash cut short or a disk spoilt counts as later than any."""
    step = json_object(line).get("step")
    return step if isinstance(step, int) else float("inf")
