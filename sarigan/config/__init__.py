"""The configuration of a run: defaults < YAML (and its `base`) < command line."""

from sarigan.config.loading import config_from_dict, load_config
from sarigan.training.run_config import RunConfig as Config

__all__ = ["Config", "config_from_dict", "load_config"]
