"""Which scales a step trains: one after the other (SinGAN), or the last few together (ConSinGAN)."""

from dataclasses import dataclass

from sarigan.errors import InputError, require_at_least_1, require_at_most


@dataclass(frozen=True)
class PlanConfig:
    """The growth of the pyramid. A step is `critic_steps` updates of a scale's critic, then `generator_steps` of generators."""

    iterations: int = 2000  # steps a scale
    joint_scales: int = 1  # generators trained together: the scale's own and those before it; 1: the original plan
    rate_factor: float = 0.1  # of the learning rate, for every scale further down
    critic_steps: int = 3
    generator_steps: int = 3
    decay_at: float = 0.8  # share of the iterations after which the rates are a tenth

    def __post_init__(self) -> None:
        require_at_least_1(self, "iterations", "joint_scales", "critic_steps", "generator_steps", prefix="plan.")
        require_at_most("plan", self, iterations=10**6, joint_scales=64, critic_steps=100, generator_steps=100)
        if not 0 < self.rate_factor <= 1:
            raise InputError(f"plan.rate_factor must be above 0 and at most 1, got {self.rate_factor}")
        if not 0 < self.decay_at <= 1:
            raise InputError(f"plan.decay_at must be above 0 and at most 1, got {self.decay_at}")

    def scale_of(self, step: int, num_scales: int) -> int:
        """The scale that a step trains; the finest from its first step on."""
        return min(step // self.iterations, num_scales - 1)

    def trained(self, level: int) -> range:
        """The scales whose generators are trained together with that of `level`."""
        return range(max(0, level - self.joint_scales + 1), level + 1)

    def decay(self, step: int, level: int) -> float:
        """The factor of all learning rates."""
        return 1.0 if step - level * self.iterations < self.decay_at * self.iterations else 0.1
