"""What the groups of a generator look like at a tick."""

import math

import torch

from sarigan.layers.grouping import SimilarityGrouping, kernel_similarity
from sarigan.models.generator import Generator


@torch.no_grad()
def group_statistics(generator: Generator, average: Generator) -> dict[str, float]:
    """Per grouped layer: non-empty groups, size entropy over log g, agreement of online and EMA argmax, t and r.

    Keys are `groups/<layer>/<quantity>`. Size entropy is 1 for equal sizes, 0 when one group holds all channels.
    Waits for the device.
    """
    found: dict[str, float] = {}
    for online, ema in zip(generator.grouped_layers(), average.grouped_layers(), strict=True):
        grouping = online.grouping
        membership = grouping.membership()
        sizes = membership.sum(dim=0)
        share = sizes[sizes > 0] / sizes.sum()
        prefix = f"groups/{online.name}"
        found[f"{prefix}/nonempty"] = float((sizes > 0).sum())
        if grouping.num_groups > 1:
            found[f"{prefix}/size_entropy"] = float(-(share * share.log()).sum()) / math.log(grouping.num_groups)
        if isinstance(grouping, SimilarityGrouping):
            agreement = (membership.argmax(dim=1) == ema.grouping.membership().argmax(dim=1)).float().mean()
            found[f"{prefix}/ema_agreement"] = float(agreement)
            found[f"{prefix}/temperature"] = float(grouping.temperature())
            found[f"{prefix}/threshold"] = float(grouping.threshold(kernel_similarity(online.kernel)))
    return found
