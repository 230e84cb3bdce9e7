"""What an edit of one channel changes: how much, and on which part of the picture.

An edit that changes the image by less than one grey level of 255 on average does nothing that a person could see.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sarigan.analysis.channel_awareness import ConditionalGenerator, expected_relu
from sarigan.layers.intervention import ChannelEdit
from sarigan.layers.style import StyleCodes

NOTHING = 1.0  # grey levels of 255, mean over images, pixels and colours
MIN_SHARE = 0.01  # of the picture: the share of a few pixels, perhaps misread ones, says nothing
CHUNK = 32


@dataclass(frozen=True)
class ChannelEffect:
    """The effect of one edit, over images of one class."""

    edit: ChannelEdit
    images: Tensor  # [N,3,R,R], edited
    change: float  # mean |difference| in grey levels
    strongest: float  # the largest mean over images of |difference| at any pixel
    map: Tensor  # mean |difference| over images and colours [R,R], in units of -1..1

    @property
    def does_nothing(self) -> bool:
        """Whether the mean change is below one grey level."""
        return self.change < NOTHING


@torch.no_grad()
def generated(model: ConditionalGenerator, seeds: Sequence[int], labels: Tensor, edits: Sequence[ChannelEdit] = ()) -> Tensor:
    """Images [N,3,R,R] in -1..1 on the CPU of seeds and classes [N]."""
    z = model.latents(seeds)
    parts = zip(z.split(CHUNK), labels.to(z.device).split(CHUNK), strict=True)
    return torch.cat([model.generate(row, label, edits=edits)[0].float().cpu().clamp(-1, 1) for row, label in parts])


def channel_effect(
    model: ConditionalGenerator, seeds: Sequence[int], labels: Tensor, edit: ChannelEdit, originals: Tensor
) -> ChannelEffect:
    """Of one edit; originals [N,3,R,R] are the images without it. InputError for a layer or channel that is not there."""
    images = generated(model, seeds, labels, [edit])
    difference = (images - originals).abs().mean(dim=(0, 1))
    return ChannelEffect(edit, images, float(difference.mean()) * 127.5, float(difference.max()) * 127.5, difference)


def strongest_channels(values: Tensor, count: int) -> list[int]:
    """The channels of highest A [C], strongest first."""
    return values.argsort(descending=True, stable=True)[:count].tolist()


def channel_use(codes: StyleCodes) -> list[tuple[int, float]]:
    """(channel, `expected_relu` of its gain and bias), most used first: codes of one image in a class-conditional layer."""
    assert codes.z_bias is not None
    values = expected_relu(codes.z_bias[0], codes.z_scale[0])
    return [(channel, float(values[channel])) for channel in strongest_channels(values, len(values))]


def part_lift(change: Tensor, masks: Tensor, num_parts: int) -> Tensor:
    """(share of the change that falls on a part) / (share of the picture that it covers), [K]; NaN for a part below 1% of it.

    change [N,R,R], masks int64 [N,R,R]: 1 for a change that is spread evenly.
    """
    weight = torch.nn.functional.one_hot(masks, num_parts).double()
    share = torch.einsum("nhw,nhwk->k", change.double(), weight) / change.double().sum().clamp_min(1e-300)
    area = weight.mean(dim=(0, 1, 2))
    return torch.where(area >= MIN_SHARE, share / area, torch.nan)
