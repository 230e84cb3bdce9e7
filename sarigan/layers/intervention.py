"""Edits of one group's codes in one layer: the controls of SariGAN Fig. 4 (z_i) and Fig. 5 (h_i).

An intervention acts on the codes between style and modulation, so it means the same in the weight and the activation form.
Legend: N batch, I input channels, G groups, n_i channels of group i. The code of a group is z_i: [N,n_i], its channels in
ascending order, or h_i: [N,1]; in a layer with biases the scales are followed by as many biases.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sarigan.errors import InputError, require_one_of
from sarigan.layers.base_grouping import one_hot
from sarigan.layers.modulation.demodulation import channel_affine
from sarigan.layers.style import StyleCodes

CODES = ("z", "h")
OPERATIONS = ("scale", "move", "shift")
LARGEST = torch.finfo(torch.float32).max  # an amount or a value beyond it would become infinite


@dataclass(frozen=True)
class Intervention:
    """One edit: StyleCodes -> StyleCodes, called inside the generator's forward.

    scale: a * code. move: code + a (values - code), so 1 sets, more goes past. shift: code + a * values.
    values: the code of a group as `group_code` reads it, [K], or [N,K] for one a sample. An empty group has nothing to
    edit. InputError for fields that make no edit; when called, for values of another length.
    """

    layer: str
    group: int
    code: str  # z | h
    operation: str  # scale | move | shift
    amount: float = 1.0
    values: Tensor | None = None

    def __post_init__(self) -> None:
        require_one_of(self, "edit: ", code=CODES, operation=OPERATIONS)
        if not abs(self.amount) <= LARGEST:
            raise InputError(f"edit of {self.place}: amount must be a finite number of 32 bits, got {self.amount}")
        if (self.values is None) != (self.operation == "scale"):
            wanted = "takes no values" if self.operation == "scale" else "needs values"
            raise InputError(f"edit of {self.place}: operation {self.operation} {wanted}")

    @property
    def place(self) -> str:
        """`z of group 3 in 8x8.up`."""
        return f"{self.code} of group {self.group} in {self.layer}"

    def fields(self) -> dict[str, Any]:
        """What an edit file holds of it, but for its values."""
        return {name: getattr(self, name) for name in ("layer", "group", "code", "operation", "amount")}

    def check(self, num_groups: Mapping[str, int], num_channels: Mapping[str, int]) -> None:
        """InputError for a layer or a group that is not there."""
        check_place(self.layer, self.group, num_groups)

    def __call__(self, codes: StyleCodes) -> StyleCodes:
        assert codes.membership is not None and codes.h_scale is not None
        member = codes.membership[:, self.group] > 0
        if self.code == "z":
            where, scale, bias = member, codes.z_scale, codes.z_bias
        else:
            # The release lets the h of an empty group move every channel; an edit of an empty group must not.
            where = (torch.arange(codes.membership.shape[1], device=member.device) == self.group) & member.any()
            scale, bias = codes.h_scale, codes.h_bias
        values = self._spread(where, scale, bias)
        scale = self._apply(where, scale, values[0])
        bias = None if bias is None else self._apply(where, bias, values[-1])
        if self.code == "z":
            return replace(codes, z_scale=scale, z_bias=bias)
        return replace(codes, h_scale=scale, h_bias=bias)

    def _spread(self, where: Tensor, scale: Tensor, bias: Tensor | None) -> tuple[Tensor | None, ...]:
        """Values at the entries they belong to, zero elsewhere: ([I or G],) or, with biases, one for each of the two."""
        if self.values is None or not bool(where.any()):
            return (None,)
        num_codes = int(where.sum()) * (1 if bias is None else 2)
        if self.values.shape[-1] != num_codes:
            raise InputError(f"edit of {self.place}: it has {num_codes} values, got {self.values.shape[-1]}")
        parts = self.values.to(scale).chunk(1 if bias is None else 2, dim=-1)
        spread = [scale.new_zeros(*part.shape[:-1], len(where)) for part in parts]
        for full, part in zip(spread, parts, strict=True):
            full[..., where] = part
        return tuple(spread)

    def _apply(self, where: Tensor, code: Tensor, values: Tensor | None) -> Tensor:
        if self.operation == "scale":
            return torch.where(where, code * self.amount, code)
        if values is None:
            return code
        if self.operation == "move":
            # lerp is exact at both ends.
            return torch.where(where, torch.lerp(code, values.expand_as(code), self.amount), code)
        return torch.where(where, code + self.amount * values, code)


@dataclass(frozen=True)
class Regrouping:
    """Gives a layer another partition of its channels and leaves the image as it is; later edits act on the new groups.

    With f of Eq. 5, z' = f and h'_i = sqrt(1/c sum_{C'_i} f_j^2) give the same f for the new groups C'. All h' are
    positive. Random partitions are the control for the learned one. groups [c]: the new group of every channel.
    """

    layer: str
    groups: Tensor

    def check(self, num_groups: Mapping[str, int], num_channels: Mapping[str, int]) -> None:
        """InputError for a layer that has no groups."""
        check_place(self.layer, None, num_groups)

    def __call__(self, codes: StyleCodes) -> StyleCodes:
        assert codes.membership is not None
        num_groups = codes.membership.shape[1]
        num_channels = codes.z_scale.shape[1]
        if len(self.groups) != num_channels or not 0 <= int(self.groups.min()) <= int(self.groups.max()) < num_groups:
            raise InputError(f"layer {self.layer}: a regrouping has {num_channels} groups of 0 to {num_groups - 1}")
        return regrouped(codes, self.groups, num_groups, self.layer)


def regrouped(codes: StyleCodes, groups: Tensor, num_groups: int, layer: str) -> StyleCodes:
    """Codes of the same f (Eq. 5) for the groups [c] of the channels; the codes need no groups of their own."""
    scale, offset = channel_affine(codes, epsilon=0.0)
    if offset is not None:
        raise InputError(f"layer {layer}: codes with biases cannot be regrouped")
    member = one_hot(groups.to(scale.device), num_groups, scale.dtype)
    length = (scale.square() @ member / scale.shape[1]).sqrt()
    return StyleCodes(scale, length, membership=member)


@dataclass(frozen=True)
class PartitionShift:
    """h_i + amount for a group i of any partition of a layer's channels, whether the layer has groups of its own or not.

    `Regrouping` and a shift of h_i in one: so one edit compares learned groups, groups made afterwards and random ones, also
    in StyleGAN2. groups [c]: the group of every channel.
    """

    layer: str
    groups: Tensor
    group: int
    amount: float

    def check(self, num_groups: Mapping[str, int], num_channels: Mapping[str, int]) -> None:
        """InputError for a layer that is not there."""
        check_layer(self.layer, num_channels)

    def __call__(self, codes: StyleCodes) -> StyleCodes:
        codes = regrouped(codes, self.groups, int(self.groups.max()) + 1, self.layer)
        return Intervention(self.layer, self.group, "h", "shift", self.amount, torch.ones(1))(codes)


@dataclass(frozen=True)
class ChannelEdit:
    """One entry of a layer's style vector, whether the layer has groups or not (Wu et al. 2021, "StyleSpace Analysis").

    scale: amount * z_j. shift: z_j + amount. Raises InputError for another operation and for an amount that is not finite.
    """

    layer: str
    channel: int  # of the layer's input
    operation: str  # scale | shift
    amount: float

    def __post_init__(self) -> None:
        if self.operation not in ("scale", "shift"):
            raise InputError(f"edit of a channel: operation must be scale or shift, got {self.operation!r}")
        if not abs(self.amount) <= LARGEST:
            raise InputError(f"edit of a channel: amount must be a finite number of 32 bits, got {self.amount}")

    @property
    def place(self) -> str:
        """`channel 7 of 8x8.up`."""
        return f"channel {self.channel} of {self.layer}"

    def fields(self) -> dict[str, Any]:
        """What an edit file holds of it."""
        return {name: getattr(self, name) for name in ("layer", "channel", "operation", "amount")}

    def check(self, num_groups: Mapping[str, int], num_channels: Mapping[str, int]) -> None:
        """InputError for a layer or a channel that is not there."""
        check_layer(self.layer, num_channels)
        if not 0 <= self.channel < num_channels[self.layer]:
            raise InputError(
                f"no channel {self.channel} in layer {self.layer}: the channels are 0 to {num_channels[self.layer] - 1}"
            )

    def __call__(self, codes: StyleCodes) -> StyleCodes:
        return replace(codes, z_scale=self.edited(codes.z_scale))

    def edited(self, values: Tensor) -> Tensor:
        """Values [N,C,...] with those of the channel edited: of styles, or of features."""
        channels = torch.arange(values.shape[1], device=values.device).reshape(-1, *[1] * (values.ndim - 2))
        changed = values * self.amount if self.operation == "scale" else values + self.amount
        return torch.where(channels == self.channel, changed, values)


@dataclass(frozen=True)
class GivenGains:
    """Gains and biases [N,C] in place of those that a class-conditional layer has of its class and latent."""

    layer: str
    gain: Tensor
    bias: Tensor

    def check(self, num_groups: Mapping[str, int], num_channels: Mapping[str, int]) -> None:
        """InputError for a layer that is not there, and for numbers of another shape."""
        check_layer(self.layer, num_channels)
        wanted = num_channels[self.layer]
        if self.gain.shape != self.bias.shape or self.gain.ndim != 2 or self.gain.shape[1] != wanted:
            shapes = f"{tuple(self.gain.shape)} and {tuple(self.bias.shape)}"
            raise InputError(f"layer {self.layer}: gains and biases must be [N,{wanted}], got {shapes}")

    def __call__(self, codes: StyleCodes) -> StyleCodes:
        return replace(codes, z_scale=self.gain.to(codes.z_scale), z_bias=self.bias.to(codes.z_scale))


Edit = Intervention | Regrouping | PartitionShift | ChannelEdit | GivenGains


def group_code(codes: StyleCodes, group: int, code: str) -> Tensor:
    """z_i [N,n_i] or h_i [N,1] of a group, followed by its biases where the layer has them."""
    assert codes.membership is not None and codes.h_scale is not None
    if code == "z":
        where, parts = codes.membership[:, group] > 0, (codes.z_scale, codes.z_bias)
    else:
        where, parts = torch.arange(codes.h_scale.shape[1], device=codes.h_scale.device) == group, (codes.h_scale, codes.h_bias)
    return torch.cat([part[:, where] for part in parts if part is not None], dim=1)


def check_layer(layer: str, num_channels: Mapping[str, int]) -> None:
    """InputError listing the valid ones unless the layer is a key of `num_channels`."""
    if layer not in num_channels:
        raise InputError(f"no layer {layer!r}: the layers are {', '.join(num_channels) or 'none that can be edited'}")


def check_place(layer: str, group: int | None, num_groups: Mapping[str, int]) -> None:
    """InputError listing the valid ones unless the layer is a key of `num_groups` and the group is one of its groups."""
    if not num_groups:
        raise InputError("this generator has no groups (generator.grouping.kind=none), so none can be shown or edited")
    if layer not in num_groups:
        raise InputError(f"no grouped layer {layer!r}: the layers are {', '.join(num_groups)}")
    if group is not None and not 0 <= group < num_groups[layer]:
        raise InputError(f"no group {group} in layer {layer}: the groups are 0 to {num_groups[layer] - 1}")


def by_layer(
    interventions: Sequence[Edit], num_groups: Mapping[str, int], num_channels: Mapping[str, int]
) -> dict[str, list[Edit]]:
    """Interventions of every layer, in the order given. InputError for a layer, group or channel that is not there.

    num_groups: of every grouped layer; num_channels: of every layer whose channels can be edited.
    """
    found: dict[str, list[Edit]] = {}
    for intervention in interventions:
        intervention.check(num_groups, num_channels)
        found.setdefault(intervention.layer, []).append(intervention)
    return found
