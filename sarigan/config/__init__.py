"""The configuration of a run."""

from sarigan.config.loading import config_from_dict, load_config
from sarigan.config.sections import Config, ObjectiveConfig, OptimizerConfig, TrainingConfig

__all__ = ["Config", "ObjectiveConfig", "OptimizerConfig", "TrainingConfig", "config_from_dict", "load_config"]
