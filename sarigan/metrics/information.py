"""How well Q recovers the codes of an image: R^2 on latents that training has not seen (SariGAN Eq. 8).

R^2_d = 1 - E(Q_d - t_d)^2 / Var t_d for each dimension d of the target t; -1/2 sum_d log(1 - R^2_d) bounds, under a
Gaussian, the information in nats. Chance is 0, the R^2 of a Q that predicts the mean. Beside it stand R^2 with images
assigned to wrong latents, which falls below 0 by what Q varies, and the squared correlation of Q_d and t_d, which an EMA
generator that Q was not trained on cannot bias.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from sarigan import distributed
from sarigan.errors import InputError
from sarigan.metrics.config import tell_rounding
from sarigan.metrics.evaluation import Evaluation, Metric, Result
from sarigan.metrics.latent_sampling import broadcast_latent, latent_batches
from sarigan.models.discriminator import Discriminator, code_halves, information_target
from sarigan.models.generator import Generator

BLOCK = 32  # images in a pass of D: its minibatch standard deviation makes Q depend on the other images of the pass


@dataclass(frozen=True)
class InformationConfig:
    """num_images is rounded up to blocks of 32."""

    num_images: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_images < 2:
            raise InputError(f"information: num_images must be at least 2, got {self.num_images}")


@dataclass(frozen=True)
class HalfInformation:
    """One half of the codes: means over its dimensions that vary, and the bound summed over them."""

    r_squared: float
    r_squared_of_shuffled_pairs: float  # images dealt to the wrong latents
    squared_correlation: float
    nats: float
    num_dimensions: int
    num_constant: int  # dimensions without variance, left out


@dataclass(frozen=True)
class Information:
    """`all`, and `h` and `z` where the codes have halves."""

    halves: dict[str, HalfInformation]
    num_images: int


@torch.no_grad()
def information(
    generator: Generator,
    discriminator: Discriminator,
    target: str,
    config: InformationConfig,
    advance: Callable[[int], None] = lambda count: None,
) -> Information:
    """R^2 of the discriminator's Q head on fresh latents. target: what Q was trained on, `w` or `codes`.

    Processes share the images. Raises InputError for a discriminator without a Q head.
    """
    if discriminator.recognition is None:
        raise InputError("information: the discriminator has no Q head (objective.information_weight was 0)")
    count = math.ceil(config.num_images / BLOCK) * BLOCK
    sums: Tensor | None = None
    for batch in latent_batches(generator, count, BLOCK, config.seed):
        output = generator.synthesize(broadcast_latent(generator, generator.mapping(batch.z, batch.labels)), batch.noise)
        predicted = discriminator(output.images, labels=batch.labels).codes.double()
        truth = information_target(output, target).double()
        others = (predicted.roll(1, dims=0) - truth).square()
        terms = (truth, truth.square(), predicted, predicted.square(), predicted * truth, others)
        found = torch.stack([term.sum(dim=0) for term in terms])
        sums = found if sums is None else sums + found
        advance(len(batch.positions))
    if sums is None:  # more processes than blocks
        width = discriminator.recognition.linear.weight.shape[0]
        sums = torch.zeros(6, width, dtype=torch.float64, device=generator.mean_latent.device)
    means = (distributed.sum_over_ranks(sums) / count).cpu()
    halves = {name: _half(means[:, chosen]) for name, chosen in code_halves(generator, target).items()}
    return Information(halves, count)


def _half(means: Tensor) -> HalfInformation:
    """means [6,D] of t, t^2, q, q^2, qt and the squared error of another image's q."""
    t, t2, q, q2, qt, wrong = means
    variance, spread = t2 - t.square(), q2 - q.square()
    varies = variance > 1e-10 * t2.clamp_min(1e-30)
    error = q2 - 2 * qt + t2
    r2 = 1 - error / variance
    product = variance * spread
    correlation2 = torch.where(product > 0, (qt - q * t).square() / product.clamp_min(1e-300), 0.0)
    known = r2[varies].clamp(0, 1 - 1e-12)
    return HalfInformation(
        r_squared=float(r2[varies].mean()),
        r_squared_of_shuffled_pairs=float((1 - wrong / variance)[varies].mean()),
        squared_correlation=float(correlation2[varies].mean()),
        nats=float(-0.5 * torch.log1p(-known).sum()),
        num_dimensions=int(varies.sum()),
        num_constant=int((~varies).sum()),
    )


class CodeInformation(Metric):
    """Held-out R^2 of the Q head, for the halves of the codes."""

    needs_data = False
    needs_generator = True
    name = "information"
    summary = "R^2 of the codes of fresh images by the Q head, h and z apart"

    def check(self, evaluation: Evaluation) -> None:
        if evaluation.discriminator is None:
            raise InputError(
                "information needs the discriminator's Q head; an export holds the generator alone, and systems other than"
                " `style` have no Q head"
            )
        if evaluation.discriminator.recognition is None:
            raise InputError("information needs a checkpoint with a Q head; this one has none (objective.information_weight=0)")
        self._config(evaluation)

    def compute(self, evaluation: Evaluation) -> Sequence[Result]:
        assert evaluation.discriminator is not None
        config = self._config(evaluation)
        taken = math.ceil(config.num_images / BLOCK) * BLOCK
        tell_rounding(self.name, config.num_images, taken, f"whole blocks of {BLOCK}: D compares the images of a block")
        advance = evaluation.progress(taken, "information")
        generator, target = evaluation.require_generator(), evaluation.information_target
        found = information(generator, evaluation.discriminator, target, config, advance)
        protocol = f"mean of 1 - MSE/Var over dimensions of {target}, {found.num_images} images; 0: predicts the mean"
        return [
            Result(
                f"information_r2_{name}",
                half.r_squared,
                protocol,
                details=asdict(half),
                higher_is_better=True,
                null=0.0,
            )  # fmt: skip
            for name, half in found.halves.items()
        ]

    def _config(self, evaluation: Evaluation) -> InformationConfig:
        return InformationConfig(evaluation.config.num_images, evaluation.config.seed)
