"""Every system by the name that a configuration's `system` key gives it."""

from sarigan.systems.class_conditional.system import ClassConditionalConfig
from sarigan.systems.inpainting.system import InpaintingConfig
from sarigan.systems.style.system import StyleConfig
from sarigan.training.run_config import RunConfig

SYSTEMS: dict[str, type[RunConfig]] = {
    "style": StyleConfig,
    "inpainting": InpaintingConfig,
    "class_conditional": ClassConditionalConfig,
}
