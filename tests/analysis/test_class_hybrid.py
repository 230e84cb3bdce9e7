"""Hybrids and kept channels of a generator whose channels are known."""

import pytest
import torch
from torch import Tensor
from toy_channels import ToyChannels

from sarigan.analysis.channel_awareness import closed_form_awareness
from sarigan.analysis.class_hybrid import chosen_channels, hybrid_images, keep_curve, kept_images, relevance, rest_gains
from sarigan.errors import InputError

LAYERS = ["first", "second"]


def tables() -> dict[str, Tensor]:
    return {name: table.mean(dim=1) for name, table in closed_form_awareness(ToyChannels(), range(8)).items()}


def shows(images: Tensor) -> Tensor:
    """The brightest colour is the class; none where no colour stands out."""
    means = images.mean(dim=(2, 3))
    return (means == means.amax(dim=1, keepdim=True)) & (means.amax(dim=1, keepdim=True) > means.median(dim=1, keepdim=True)[0])


def test_hybrids_between_their_ends() -> None:
    """No channel of b is an image of a, all channels are one of b with the same latent, and its own channel is enough."""
    model = ToyChannels()
    z = model.latents(range(3))
    first, second = (model.generate(z, torch.full((3,), label))[0] for label in (0, 2))
    for top, expected in ((0, first), (8, second)):
        assert torch.equal(hybrid_images(model, z, 0, 2, chosen_channels(tables(), LAYERS, "awareness", top)), expected)
    one = hybrid_images(model, z, 0, 2, chosen_channels(tables(), ["second"], "difference", 1))
    assert torch.equal(one[:, 2], second[:, 2]) and torch.equal(one[:, :2], first[:, :2])


def test_relevance() -> None:
    values = torch.tensor([[5.0, 3.0, 0.0], [5.0, 0.0, 1.0]])
    assert relevance(values, "difference").tolist() == [[0, 1.5, -0.5], [0, -1.5, 0.5]]
    assert relevance(values, "difference", against=0)[1].tolist() == [0, -3, 1]
    chosen = [chosen_channels({"x": values}, ["x"], rule, 1)["x"].tolist() for rule in ("awareness", "difference")]
    assert chosen == [[[True, False, False]] * 2, [[False, True, False], [False, False, True]]]
    drawn = [relevance(values, "random", seed) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_channels_that_carry_the_class() -> None:
    """One channel a class carries it: kept by awareness it is shown at once, by chance it is not."""
    model, tops = ToyChannels(), [0, 1, 6]
    curves = {
        (rule, rest): keep_curve(model, tables(), ["second"], shows, range(6), tops, rule, rest, seed=5)
        for rule in ("awareness", "difference", "random") for rest in ("mean", "silent")
    }  # fmt: skip
    for (rule, rest), curve in curves.items():
        assert curve[0] == 0 and curve[2] == 1, (rule, rest)
        assert curve[1] == 1 if rule != "random" else curve[1] < 1


def test_what_is_kept() -> None:
    """All channels: the image itself. None: the mean over classes, or nothing."""
    model = ToyChannels()
    z, labels = model.latents([3, 4]), torch.tensor([1, 2])
    mean, silent = (rest_gains(model, z, rest) for rest in ("mean", "silent"))
    every, none = (chosen_channels(tables(), LAYERS, "awareness", top) for top in (8, 0))
    assert torch.equal(kept_images(model, z, labels, every, mean), model.generate(z, labels)[0])
    assert torch.equal(kept_images(model, z, labels, every, silent), model.generate(z, labels)[0])
    assert torch.equal(kept_images(model, z, labels, none, silent), torch.full((2, 3, 8, 8), -1.0).double())
    neutral = kept_images(model, z, labels, none, mean)
    assert torch.equal(neutral, kept_images(model, z, labels.flip(0), none, mean))  # whatever the class


@pytest.mark.parametrize(
    ("layers", "top", "rule", "message"),
    [
        (["third"], 1, "awareness", "no layer 'third': the layers are first, second"),
        (["second"], 7, "awareness", "--tops must be 0 to 6, the number of channels of the widest of these layers, got 7"),
        (["second"], 1, "best", "--rule must be one of awareness, difference, random, got 'best'"),
    ],
)
def test_what_is_wrong_is_one_line(layers: list[str], top: int, rule: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        chosen_channels(tables(), layers, rule, top)
