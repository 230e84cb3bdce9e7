"""What watches over the trainer of a run: the watchdog hears where it is, and a bad row of steps goes back to a checkpoint."""

import logging
from pathlib import Path

from sarigan.files.run_log import RunLogger
from sarigan.runs.checkpoint_hook import CheckpointHook
from sarigan.runs.resume import resume_from_newest
from sarigan.runs.watchdog import Watchdog
from sarigan.training.nonfinite import NonfiniteError
from sarigan.training.trainer import Supervisor, Trainer

log = logging.getLogger(__name__)
MAX_ROLLBACKS = 3


class RunSupervisor(Supervisor):
    """Of a run in a directory; `logger` is rank 0's, None elsewhere."""

    def __init__(self, watchdog: Watchdog, checkpoints: CheckpointHook, logger: RunLogger | None, run_dir: Path) -> None:
        self.watchdog, self.checkpoints, self.logger, self.run_dir = watchdog, checkpoints, logger, run_dir

    def report_position(self, where: str) -> None:
        self.watchdog.mark(where)

    def report_stop(self) -> None:
        self.watchdog.post("stopped in an evaluation, as asked; what was trained is saved", code=0)

    def roll_back(self, trainer: Trainer, error: NonfiniteError) -> bool:
        """Back to the last checkpoint with other latents, if the configuration wants it and it was not done too often."""
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
