"""What the codes of a group tell about attributes of the image: information per group.

R^2_ia of attribute a's logit, regressed on the scales f_j (SariGAN Eq. 5) of the channels j of group i on one half of the
images and counted on the other; -1/2 log(1 - R^2_ia) bounds, under a Gaussian, the information in nats. A group's score is that
of the attribute it tells most about. Larger groups tell more, so only groups of equal sizes compare.
Legend: N images, C channels, G groups, A attributes.
"""

import torch
from torch import Tensor

RIDGE = 1e-6  # of a channel's mean square, added to the diagonal: scales may be linearly dependent


class InformationScorer:
    """Scores any grouping on the scales [N,C] of a layer and the logits [N,A] of the images' attributes."""

    def __init__(self, scales: Tensor, logits: Tensor) -> None:
        half = len(scales) // 2
        x, y = scales.double(), logits.double()
        x, y = x - x[:half].mean(dim=0), y - y[:half].mean(dim=0)
        x = x / x[:half].square().mean(dim=0).sqrt().clamp_min(1e-12)
        fit, held = slice(0, half), slice(half, None)
        self.gram, self.products = x[fit].t() @ x[fit] / half, x[fit].t() @ y[fit] / half
        count = len(x) - half
        self.held_gram, self.held_products = x[held].t() @ x[held] / count, x[held].t() @ y[held] / count
        self.power = y[held].square().mean(dim=0)
        self.variance = y[held].var(dim=0, correction=0)

    def r_squared(self, channels: Tensor) -> Tensor:
        """R^2 [A] on the held-out half, of these channels [n]; 0 for a logit that does not vary."""
        gram = self.gram[channels][:, channels]
        ridge = RIDGE * torch.eye(len(channels), dtype=gram.dtype)
        beta = torch.linalg.solve(gram + ridge, self.products[channels])
        explained = 2 * (beta * self.held_products[channels]).sum(dim=0)
        explained = explained - torch.einsum("ia,ij,ja->a", beta, self.held_gram[channels][:, channels], beta)
        error = self.power - explained
        return torch.where(self.variance > 0, 1 - error / self.variance.clamp_min(1e-300), 0.0)

    def __call__(self, groups: Tensor, num_groups: int) -> Tensor:
        """Nats [G,A] of groups [C]; 0 for an empty group and where nothing is told."""
        rows = []
        for group in range(num_groups):
            channels = (groups == group).nonzero().flatten()
            r2 = self.r_squared(channels) if len(channels) else torch.zeros_like(self.power)
            rows.append(-0.5 * torch.log1p(-r2.clamp(0, 1 - 1e-12)))
        return torch.stack(rows)
