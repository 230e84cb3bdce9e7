"""The supervisor of a run: it tells the watchdog the trainer's position, and rolls back to a checkpoint after bad steps."""

import logging
from pathlib import Path

from sarigan.runs.checkpoint_hook import CheckpointHook
from sarigan.runs.resume import resume_from_newest
from sarigan.runs.watchdog import Watchdog
from sarigan.training.hooks import RunLogger
from sarigan.training.nonfinite import NonfiniteError
from sarigan.training.trainer import Supervisor, Trainer

log = logging.getLogger(__name__)
MAX_ROLLBACKS = 3


class RunSupervisor(Supervisor):
    """Supervises a run in a directory; `logger` is None on all ranks but 0."""

    def __init__(self, watchdog: Watchdog, checkpoints: CheckpointHook, logger: RunLogger | None, run_dir: Path) -> None:
        self.watchdog, self.checkpoints, self.logger, self.run_dir = watchdog, checkpoints, logger, run_dir

    def report_position(self, where: str) -> None:
        self.watchdog.mark(where)

    def report_stop(self) -> None:
        self.watchdog.post("stopped in an evaluation, as asked; what was trained is saved", code=0)

    def roll_back(self, trainer: Trainer, error: NonfiniteError) -> bool:
        """Restore the last checkpoint and go on with other latents, if the configuration allows it, three times at most."""
        state = trainer.state
        attempt = state.num_rollbacks + 1
        if state.config.training.on_nonfinite != "roll_back" or attempt > MAX_ROLLBACKS:
            return False
        self.checkpoints.writer.wait()
        if not resume_from_newest(state, self.run_dir):
            return False
        state.num_rollbacks = attempt
        self.checkpoints.saved_step = state.step
        if self.logger is not None:
            self.logger.drop_after(state.step)
            log.warning(f"warning: {error}; rolled back to step {state.step}, attempt {attempt} of {MAX_ROLLBACKS}")
        return True
