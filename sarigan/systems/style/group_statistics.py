"""What the groups of a generator look like at a tick."""

import math

import torch
from torch import Tensor

from sarigan.models.generator import Generator


@torch.no_grad()
def group_statistics(generator: Generator, average: Generator) -> dict[str, float]:
    """Per grouped layer: non-empty groups, size entropy over log g, agreement of online and EMA argmax, t and r.

    Keys are `groups/<layer>/<quantity>`. Size entropy is 1 for equal sizes, 0 when one group holds all channels.
    Waits for the device, once.
    """
    found: dict[str, Tensor] = {}
    for online, ema in zip(generator.grouped_layers(), average.grouped_layers(), strict=True):
        grouping = online.grouping
        membership = grouping.membership()
        sizes = membership.sum(dim=0)
        prefix = f"groups/{online.name}"
        found[f"{prefix}/nonempty"] = (sizes > 0).sum()
        if grouping.num_groups > 1:
            share = sizes / sizes.sum().clamp_min(1)
            entropy = -torch.xlogy(share, share).sum()  # an empty group adds 0
            found[f"{prefix}/size_entropy"] = entropy / math.log(grouping.num_groups)
        if next(grouping.parameters(), None) is not None:  # learned groups, whose average trails behind
            agreement = (membership.argmax(dim=1) == ema.grouping.membership().argmax(dim=1)).float().mean()
            found[f"{prefix}/ema_agreement"] = agreement
        found |= {f"{prefix}/{name}": value for name, value in grouping.statistics(online.kernel).items()}
    return dict(zip(found, torch.stack(list(found.values())).tolist(), strict=True)) if found else {}
