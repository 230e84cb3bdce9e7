"""The configuration of a run."""

from sarigan.config.loading import config_from_dict, load_config
from sarigan.config.sections import Config, MetricsConfig, ObjectiveConfig, OptimizerConfig, TrainingConfig

__all__ = ["Config", "MetricsConfig", "ObjectiveConfig", "OptimizerConfig", "TrainingConfig", "config_from_dict", "load_config"]
