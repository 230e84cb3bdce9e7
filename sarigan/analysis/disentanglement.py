"""Interventional disentanglement: does an edit of one group change one attribute, or others, too?

Effect e_ia = E |l_a(x_i) - l_a(x)| / sd(l_a): the logit l_a of attribute a before and after the edit of group i, in its
standard deviations over images. D_i = max_a e_ia / sum_a e_ia is the share of the best attribute: 1 when the edit changes that
one alone, 1/A when it changes all A alike; 1 - D_i is what it does to the others. D is the mean over groups.
"""

import torch
from torch import Tensor, nn

MIN_DEVIATION = 1e-6  # of a logit over images: an attribute that never varies has no scale to be measured on


class AttributeChange:
    """A judge of edited images: the effect [A] on the attributes of a classifier that vary (`names` of them)."""

    @torch.no_grad()
    def __init__(self, classifier: nn.Module, names: list[str], before: Tensor, batch_size: int = 64) -> None:
        """classifier: images [N,3,R,R] -> logits [N,A']; before: the unedited images."""
        self.classifier, self.batch_size = classifier, batch_size
        self.before = self._logits(before)
        self.deviation = self.before.std(dim=0)
        self.varies = self.deviation > MIN_DEVIATION
        self.names = [name for name, varies in zip(names, self.varies.tolist(), strict=True) if varies]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        change = (self._logits(images) - self.before).abs().mean(dim=0)
        return (change / self.deviation)[self.varies]

    def _logits(self, images: Tensor) -> Tensor:
        return torch.cat([self.classifier(part) for part in images.split(self.batch_size)])


def disentanglement(effects: Tensor) -> Tensor:
    """D_i [...,G] of effects [...,G,A]; 1/A for an edit without any effect."""
    total = effects.sum(dim=-1)
    return torch.where(total > 0, effects.amax(dim=-1) / total.clamp_min(1e-30), 1 / effects.shape[-1])
