"""Which channels carry a class? Hybrids of two classes, and images that keep the gains of K channels alone.

A hybrid has the latent and the gains of class a, but in the K channels that matter most to class b it has the gains of b with
the same latent: K = 0 is an image of a, all channels is an image of b. Keeping K channels is the same experiment against a
class that is none: all others have the mean gains of all classes, or are silent. Accuracy of the class over K, for the
strongest channels and for random ones, tells whether awareness finds the channels that carry the class.
Legend: K classes, N samples, C channels.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from sarigan.analysis.channel_awareness import ConditionalGenerator, Gains
from sarigan.analysis.class_overlap import check_top, strongest
from sarigan.errors import InputError
from sarigan.seeding import derive_seed

RULES = ("awareness", "difference", "random")
RESTS = ("mean", "silent")
Reader = Callable[[Tensor], Tensor]  # images [N,3,R,R] in -1..1 -> which classes each may show, bool [N,K]


def relevance(values: Tensor, rule: str, seed: int = 0, against: int | None = None) -> Tensor:
    """How much each channel matters to each class [K,C], from A [K,C].

    awareness: A itself. difference: A less that of class `against`, or less the mean over classes. random: drawn.
    """
    if rule not in RULES:
        raise InputError(f"--rule must be one of {', '.join(RULES)}, got {rule!r}")
    if rule == "random":
        return torch.rand(values.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if rule == "difference":
        return values - (values.mean(dim=0) if against is None else values[against])
    return values


def chosen_channels(
    tables: Mapping[str, Tensor], layers: Sequence[str], rule: str, top: int, seed: int = 0, against: int | None = None
) -> dict[str, Tensor]:
    """The `top` channels of every class in each of the layers, bool [K,C]: a narrower layer gives all of its channels.

    tables: A [K,C] by layer. InputError for a layer that is not there, and for a `top` above the widest layer.
    """
    widest = max(tables[layer].shape[1] for layer in check_layers(layers, tables))
    check_top(top, widest, "the widest of these layers", "--tops", 0)
    found = {}
    for layer in layers:
        values = relevance(tables[layer], rule, derive_seed("relevance", seed, layer), against)
        count = min(top, values.shape[1])
        found[layer] = strongest(values, count) if count else torch.zeros(values.shape, dtype=torch.bool)
    return found


def check_layers(layers: Sequence[str], known: Mapping[str, object]) -> Sequence[str]:
    """The layers; InputError listing those there are for one that is not there."""
    for layer in layers:
        if layer not in known:
            raise InputError(f"no layer {layer!r}: the layers are {', '.join(known)}")
    return layers


def mixed_gains(own: Gains, other: Gains, takes: Tensor) -> Gains:
    """The other's gains where `takes`, bool [C] or [N,C]."""
    takes = takes.to(own.gamma.device)
    return Gains(torch.where(takes, other.gamma, own.gamma), torch.where(takes, other.beta, own.beta))


@torch.no_grad()
def hybrid_images(model: ConditionalGenerator, z: Tensor, first: int, second: int, chosen: Mapping[str, Tensor]) -> Tensor:
    """Images [N,3,R,R] of class `first` whose chosen channels (of class `second`, bool [K,C] by layer) have its gains."""
    labels = torch.full((len(z),), first, device=z.device)
    own, other = model.gains(z, labels), model.gains(z, torch.full_like(labels, second))
    gains = {layer: mixed_gains(own[layer], other[layer], member[second]) for layer, member in chosen.items()}
    return model.generate(z, labels, gains)[0]


@torch.no_grad()
def rest_gains(model: ConditionalGenerator, z: Tensor, rest: str) -> dict[str, Gains]:
    """What channels have that do not keep their gains: the mean over classes (`mean`), or 0 after ReLU (`silent`)."""
    classes = range(len(model.class_names)) if rest == "mean" else range(1)
    every = [model.gains(z, torch.full((len(z),), k, device=z.device)) for k in classes]
    if rest == "silent":
        return {layer: Gains(torch.zeros_like(gamma), torch.zeros_like(beta)) for layer, (gamma, beta) in every[0].items()}
    return {
        layer: Gains(*(torch.stack(part).mean(dim=0) for part in zip(*(found[layer] for found in every), strict=True)))
        for layer in every[0]
    }


@torch.no_grad()
def kept_images(
    model: ConditionalGenerator, z: Tensor, labels: Tensor, chosen: Mapping[str, Tensor], rest: Mapping[str, Gains]
) -> Tensor:
    """Images [N,3,R,R] of classes [N]: the chosen channels (bool [K,C] by layer) keep their gains, others have the rest's."""
    own = model.gains(z, labels)
    gains = {layer: mixed_gains(rest[layer], own[layer], member.to(labels.device)[labels]) for layer, member in chosen.items()}
    return model.generate(z, labels, gains)[0]


@torch.no_grad()
def keep_curve(
    model: ConditionalGenerator, tables: Mapping[str, Tensor], layers: Sequence[str], read: Reader, seeds: Sequence[int],
    tops: Sequence[int], rule: str, rest: str = "mean", seed: int = 0, advance: Callable[[int], None] = lambda count: None,
) -> list[float]:  # fmt: skip
    """The share of images that show their class when K channels a layer keep their gains, for every K of `tops`.

    rest: a name of `RESTS`, as of `rest_gains`.
    """
    z, classes = model.latents(seeds), range(len(model.class_names))
    others, curve = rest_gains(model, z, rest), []
    for top in tops:
        chosen = chosen_channels(tables, layers, rule, top, seed)
        hits = 0.0
        for label in classes:
            images = kept_images(model, z, torch.full((len(z),), label, device=z.device), chosen, others)
            hits += float(read(images.clamp(-1, 1))[:, label].double().sum())
            advance(len(z))
        curve.append(hits / (len(classes) * len(z)))
    return curve
