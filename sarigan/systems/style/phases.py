"""The phases of a step (Karras et al. 2020, StyleGAN2, appendix B, lazy regularisation; SariGAN Eq. 7)."""

import math

from sarigan.training.phase import Phase
from sarigan.training.state import TrainingState


def build_phases(state: TrainingState) -> list[Phase]:
    """The phases of a step in their order; those of weight 0 are left out."""
    objective, config = state.objective, state.config.objective
    batch_size = state.config.training.batch_size
    discriminator_parameters = list(state.discriminator.parameters())
    recognition = state.discriminator.recognition
    codes_only = {id(p) for p in recognition.parameters()} if recognition is not None else set()
    phases = [
        Phase(
            "discriminator", objective.discriminator_phase, state.discriminator, discriminator_parameters,
            state.discriminator_optimizer, batch_size=batch_size, needs_real_images=True,
        )
    ]  # fmt: skip
    if config.r1_gamma:
        trunk_and_head = [p for p in discriminator_parameters if id(p) not in codes_only]
        phases.append(
            Phase(
                "r1", objective.r1_phase, state.discriminator, trunk_and_head, state.discriminator_optimizer,
                interval=config.r1_interval, needs_real_images=True,
            )
        )  # fmt: skip
    phases.append(
        Phase(
            "generator", objective.generator_phase, state.generator, state.generator_parameters,
            state.generator_optimizer, batch_size=batch_size,
        )
    )  # fmt: skip
    if config.path_length_weight:
        phases.append(
            Phase(
                "path_length", objective.path_length_phase, state.generator, state.generator_parameters,
                state.generator_optimizer, interval=config.path_length_interval,
                batch_size=max(1, batch_size // config.path_length_batch_shrink), needs_image_noise=True,
                after=objective.after_path_length,
            )
        )  # fmt: skip
    if state.grouping_optimizer is not None:
        freeze = state.config.generator.grouping.freeze_kimg
        phases.append(
            Phase(
                "grouping", objective.grouping_phase, state.generator, state.grouping_parameters,
                state.grouping_optimizer, uses_replica=False,
                until_step=None if freeze is None else math.ceil(freeze * 1000 / batch_size),
            )
        )  # fmt: skip
    return phases
