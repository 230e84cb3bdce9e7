"""Every system by the name that a configuration's `system` key gives it."""

from sarigan.systems.class_conditional.system import ClassConditionalConfig
from sarigan.systems.inpainting.system import InpaintingConfig
from sarigan.systems.inpainting.two_stage.system import TwoStageInpaintingConfig
from sarigan.systems.semantic_layout.system import SemanticLayoutConfig
from sarigan.systems.single_image.system import SingleImageConfig
from sarigan.systems.style.system import StyleConfig
from sarigan.training.run_config import RunConfig

SYSTEMS: dict[str, type[RunConfig]] = {
    "style": StyleConfig,
    "inpainting": InpaintingConfig,
    "two_stage_inpainting": TwoStageInpaintingConfig,
    "class_conditional": ClassConditionalConfig,
    "semantic_layout": SemanticLayoutConfig,
    "single_image": SingleImageConfig,
}
