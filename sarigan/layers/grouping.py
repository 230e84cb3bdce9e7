"""Which channel belongs to which semantic group (SariGAN sec. 3.1, Eq. 1-2), and the fixed groupings it is compared with.

Legend: c channels, g groups, d weights of a kernel. W [c,d] are the kernels of the convolution that *produces* the c
channels, S [c,c] their cosine similarity (Eq. 1), P [c,g] the softmax of the group logits, r a threshold. A grouping answers
for itself: `membership()` -> [c,g] with one-hot rows, its initialisation, its losses, its statistics. A new kind is a subclass
of `Grouping` and a line in `GROUPINGS`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sarigan.errors import InputError, require_at_most, require_one_of
from sarigan.layers.base_grouping import Grouping, GroupingLoss, one_hot
from sarigan.layers.feature_correlation import feature_correlation
from sarigan.layers.fixed_grouping import BlockDiagonalGrouping, FixedGrouping
from sarigan.layers.kernel_similarity import (
    hard_step,
    kernel_similarity,
    similarity_error,
    similarity_quantile,
    soft_step,
    threshold_loss,
)
from sarigan.seeding import check_seed

# 1/t = 5 sigmoid(theta), so t > 0.2; theta = -2 at the start.
INVERSE_TEMPERATURE_MAX = 5.0
INITIAL_TEMPERATURE_LOGIT = -2.0
# round(softmax(500 P)): the release's almost-argmax.
ROUND_SHARPNESS = 500.0
INITIAL_NUMBER_LOGIT = 3.0  # of a learned number of groups: it starts at 95% of the most
NUM_DEVIATIONS = 3.0  # the cosine of two random kernels of d weights has the deviation 1/sqrt(d)

CHOICES = {
    "step": ("hard", "soft"),
    "threshold": ("quantile", "learned", "constant"),
    "assignment": ("argmax", "round"),
    "empty_group": ("zero", "release"),
    "loss_reduction": ("mean", "sum"),
}


@dataclass(frozen=True)
class GroupingConfig:
    """How channels are grouped. Defaults are the paper's preset; docs/reproduction.md sets them beside the release's."""

    # none | similarity (the paper) | straight_through | adaptive (learned number) | activation (by feature maps) | contiguous |
    # random | block_diagonal (DBT)
    kind: str = "similarity"
    num_groups: int = 16  # g, in every layer
    max_group_share: float | None = None  # groups of a layer <= share * channels; None leaves num_groups as given
    step: str = "hard"  # H of Eq. 2: unit step, or soft: sigmoid(50 (S - r))
    threshold: str = "quantile"  # r of Eq. 2: quantile | learned | constant
    constant_threshold: float = 0.1  # r when it is constant
    initial_threshold: float | None = None  # of a learned r; None: the quantile of the first kernels
    learn_temperature: bool = True  # t of Eq. 2, one a layer
    constant_temperature: float = 0.3  # t of Eq. 2 when it is not learned
    assignment: str = "argmax"  # round: the release's rounded softmax
    empty_group: str = "zero"  # release: its 1e-6 row renormalised over all channels
    loss_reduction: str = "mean"  # of Eq. 2 over the c*c entries; sum: the release
    freeze_kimg: float | None = None  # stop learning the groups after this many thousand images
    random_seed: int = 0  # of kind `random`
    activation_decay: float = 0.99  # of kind `activation`: the share of the running moments that an update keeps

    def __post_init__(self) -> None:
        require_one_of(self, "generator.grouping.", kind=("none", *GROUPINGS), **CHOICES)
        if self.num_groups < 1:
            raise InputError(f"generator.grouping.num_groups must be at least 1, got {self.num_groups}")
        if self.max_group_share is not None and not 0 < self.max_group_share <= 1:
            raise InputError(f"generator.grouping.max_group_share must be in (0, 1], got {self.max_group_share}")
        if self.initial_threshold is not None and not 0 < self.initial_threshold < 1:
            raise InputError(f"generator.grouping.initial_threshold must be in (0, 1), got {self.initial_threshold}")
        if self.constant_temperature <= 0:
            raise InputError(f"generator.grouping.constant_temperature must be positive, got {self.constant_temperature}")
        require_at_most("generator.grouping", self, num_groups=16_384)
        check_seed("generator.grouping.random_seed", self.random_seed)
        if self.freeze_kimg is not None and self.freeze_kimg < 0:
            raise InputError(f"generator.grouping.freeze_kimg must not be negative, got {self.freeze_kimg}")
        if not 0 <= self.activation_decay < 1:
            raise InputError(f"generator.grouping.activation_decay must be in [0, 1), got {self.activation_decay}")
        if self.kind == "adaptive" and self.threshold != "quantile":
            raise InputError(f"generator.grouping.threshold is fixed with kind adaptive; leave it out, got {self.threshold!r}")
        if self.freeze_kimg is not None and self.kind == "straight_through":
            raise InputError(
                f"generator.grouping.freeze_kimg must be null with kind straight_through, got {self.freeze_kimg}: images would"
                " go on training the groups"
            )

    def groups_for(self, num_channels: int, layer: str) -> int:
        """The number of groups of a layer with c channels; InputError when there are more groups than channels."""
        if self.num_groups > num_channels and self.max_group_share is None:
            raise InputError(
                f"generator.grouping.num_groups must be at most the {num_channels} channels of layer {layer},"
                f" got {self.num_groups} (generator.grouping.max_group_share=0.25 caps it per layer)"
            )
        if self.max_group_share is None:
            return self.num_groups
        return max(1, min(self.num_groups, int(self.max_group_share * num_channels)))


class SimilarityGrouping(Grouping):
    """Learned groups: softmax(G/t) softmax(G/t)^T is fitted to H(S - r) (Eq. 2); membership is the row argmax of G."""

    def __init__(self, config: GroupingConfig, num_channels: int, num_groups: int) -> None:
        super().__init__(num_channels, num_groups)
        self.config = config
        self.logits = nn.Parameter(torch.randn(num_channels, num_groups))
        if config.learn_temperature:
            self.temperature_logit = nn.Parameter(torch.tensor(INITIAL_TEMPERATURE_LOGIT))
        if config.threshold == "learned":
            self.threshold_logit = nn.Parameter(torch.tensor(0.0))

    @torch.no_grad()
    def initialize(self, kernel: Tensor) -> None:
        """Start a learned threshold at `initial_threshold`, or at the quantile of the kernels [c,...]."""
        if self.config.threshold != "learned":
            return
        if self.config.initial_threshold is None:
            start = similarity_quantile(kernel_similarity(kernel), self.num_groups).clamp(1e-3, 1 - 1e-3)
        else:
            start = torch.tensor(self.config.initial_threshold)
        self.threshold_logit.copy_(torch.logit(start))

    def temperature(self) -> Tensor:
        """t, a scalar."""
        if not self.config.learn_temperature:
            return self.logits.new_full((), self.config.constant_temperature)  # new_tensor would wait for the device
        return 1 / (INVERSE_TEMPERATURE_MAX * torch.sigmoid(self.temperature_logit))

    def threshold(self, similarity: Tensor) -> Tensor:
        """r, a scalar; carries gradient only when it is learned. similarity [c,c]."""
        if self.config.threshold == "learned":
            return torch.sigmoid(self.threshold_logit)
        if self.config.threshold == "quantile":
            return similarity_quantile(similarity, self.num_groups)
        return similarity.new_full((), self.config.constant_threshold)

    def similarity(self, kernel: Tensor) -> Tensor:
        """S [c,c] that the groups are fitted to; Eq. 1. No gradient."""
        return kernel_similarity(kernel.detach())

    def probabilities(self) -> Tensor:
        """N(G/t) [c,g]: softmax over the groups."""
        return F.softmax(self.among_used(self.logits / self.temperature()), dim=1)

    def among_used(self, logits: Tensor) -> Tensor:
        """Logits [c,g] with those of groups that are not in use at minus infinity; here all are."""
        return logits

    @torch.no_grad()
    def membership(self) -> Tensor:
        """[c,g], one-hot rows; with `assignment: round`, a tied channel's row may be all zero, as in the release."""
        if self.config.assignment == "round":
            return torch.round(F.softmax(ROUND_SHARPNESS * self.probabilities(), dim=1))
        return one_hot(self.among_used(self.logits).argmax(dim=1), self.num_groups, self.logits.dtype)

    def loss(self, kernel: Tensor) -> GroupingLoss:
        """Eq. 2 and the learned threshold's loss. Gradient goes to the logits, the temperature and a learned threshold."""
        with torch.autocast(kernel.device.type, enabled=False):
            similarity = self.similarity(kernel)
            threshold = self.threshold(similarity)
            step = hard_step if self.config.step == "hard" else soft_step
            error = similarity_error(self.probabilities(), step(similarity, threshold))
            return GroupingLoss(
                similarity=error.mean() if self.config.loss_reduction == "mean" else error.sum(),
                threshold=self.threshold_loss(similarity, threshold),
                mean_squared_error=error.detach().mean(),
            )

    def threshold_loss(self, similarity: Tensor, threshold: Tensor) -> Tensor | None:
        """The loss of what makes a channel have c/g similar ones: a learned r. similarity [c,c]."""
        if self.config.threshold != "learned":
            return None
        return threshold_loss(similarity, threshold, self.num_groups)

    @torch.no_grad()
    def statistics(self, kernel: Tensor) -> dict[str, Tensor]:
        return {"temperature": self.temperature(), "threshold": self.threshold(self.similarity(kernel))}


class StraightThroughGrouping(SimilarityGrouping):
    """Learned groups that images train, too: one-hot forwards, the gradient of the softmax backwards (Bengio et al. 2013).

    So a channel can leave its group because the images, or what Q reads in them, become better. Neither the paper nor its code
    has this: there a grouping cannot be rewarded for what it does.
    """

    def trained_membership(self) -> Tensor:
        """[c,g]: the values of `membership`, the gradient of N(G/t)."""
        probabilities = self.probabilities()
        return self.membership() + (probabilities - probabilities.detach())

    def image_parameters(self) -> list[nn.Parameter]:
        """Logits, and a learned temperature."""
        return [self.logits, self.temperature_logit] if self.config.learn_temperature else [self.logits]


class AdaptiveGrouping(SimilarityGrouping):
    """Learned groups of a learned number n of them; `num_groups` is the most there can be (the paper's first future work).

    The paper chooses r so that a channel has c/g similar ones. Here r is what few pairs of random kernels of d weights reach,
    3/sqrt(d), and n is fitted to c^2 / sum H(S - r), so that a channel has c/n similar ones. Groups from n on hold no channel.
    """

    num_weights: int  # d

    def __init__(self, config: GroupingConfig, num_channels: int, num_groups: int) -> None:
        super().__init__(config, num_channels, num_groups)
        self.number_logit = nn.Parameter(torch.tensor(INITIAL_NUMBER_LOGIT))

    def initialize(self, kernel: Tensor) -> None:
        """Take d from the kernels [c,...]."""
        self.num_weights = kernel[0].numel()

    def number(self) -> Tensor:
        """n between 1 and g, a scalar; rounded it is the number of groups in use."""
        return 1 + (self.num_groups - 1) * torch.sigmoid(self.number_logit)

    def threshold(self, similarity: Tensor) -> Tensor:
        """3/sqrt(d), a scalar."""
        return similarity.new_full((), NUM_DEVIATIONS * self.num_weights**-0.5)

    def among_used(self, logits: Tensor) -> Tensor:
        """Logits [c,g], those of groups from n on at minus infinity."""
        unused = torch.arange(self.num_groups, device=logits.device) >= self.number().detach().round()
        return logits.masked_fill(unused, -torch.inf)

    def threshold_loss(self, similarity: Tensor, threshold: Tensor) -> Tensor:
        """(n / (c^2 / sum H(S - r)) - 1)^2, which trains n alone."""
        target = similarity.numel() / hard_step(similarity, threshold).sum()
        return (self.number() / target.clamp(1, self.num_groups) - 1).square()

    @torch.no_grad()
    def statistics(self, kernel: Tensor) -> dict[str, Tensor]:
        return super().statistics(kernel) | {"number": self.number()}


class ActivationGrouping(SimilarityGrouping):
    """Learned groups of channels that respond alike: S of Eq. 2 is a running correlation of feature maps, not of kernels.

    The paper groups kernels because it expects their channels to respond alike; this groups by the responses themselves.
    """

    needs_features = True
    moments: Tensor  # [c+1,c+1] of `feature_moments`; its corner is the weight 1 - decay^n of n updates

    def __init__(self, config: GroupingConfig, num_channels: int, num_groups: int) -> None:
        super().__init__(config, num_channels, num_groups)
        self.register_buffer("moments", torch.zeros(num_channels + 1, num_channels + 1))

    def observe(self, moments: Tensor) -> None:
        """moments <- decay moments + (1 - decay) M / count; unless that is not finite."""
        mean = (moments / moments[-1, -1]).to(self.moments)
        moved = torch.lerp(mean, self.moments, self.config.activation_decay)
        self.moments.copy_(torch.where(moved.isfinite().all(), moved, self.moments))

    def similarity(self, kernel: Tensor) -> Tensor:
        """The correlation [c,c] of what has been observed; 0 before."""
        return feature_correlation(self.moments)


# (configuration, channels, groups) -> grouping, by `generator.grouping.kind`.
GROUPINGS: dict[str, Callable[[GroupingConfig, int, int], Grouping]] = {
    "similarity": SimilarityGrouping,
    "straight_through": StraightThroughGrouping,
    "adaptive": AdaptiveGrouping,
    "activation": ActivationGrouping,
    "contiguous": lambda config, num_channels, num_groups: FixedGrouping(num_channels, num_groups),
    "random": lambda config, num_channels, num_groups: FixedGrouping(num_channels, num_groups, config.random_seed),
    "block_diagonal": lambda config, num_channels, num_groups: BlockDiagonalGrouping(num_channels, num_groups),
}


def build_grouping(config: GroupingConfig, num_channels: int, layer: str) -> Grouping | None:
    """The grouping of a layer with c input channels, or None for kind `none`."""
    if config.kind == "none":
        return None
    return GROUPINGS[config.kind](config, num_channels, config.groups_for(num_channels, layer))
