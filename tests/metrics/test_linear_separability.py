"""Separability of latents whose attributes are exactly linear, not linear at all, or absent."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sarigan.errors import InputError
from sarigan.metrics.linear_separability import SeparabilityConfig, conditional_entropy, linear_separability, separability

DIMENSIONS = 8


class ConstructedGenerator:
    """Draws w itself into the pixels, beside a nonlinear map of z to w."""

    def __init__(self) -> None:
        self.config = SimpleNamespace(z_dim=DIMENSIONS, w_dim=DIMENSIONS, resolution=4)
        self.synthesis = SimpleNamespace(noise_shapes=lambda: [(4, 4)])
        self.mean_latent, self.num_latents = torch.zeros(DIMENSIONS), 2
        source = torch.Generator().manual_seed(3)
        self.twist = torch.randn(DIMENSIONS, DIMENSIONS, generator=source)

    def mapping(self, z: Tensor, labels: None = None) -> Tensor:
        return torch.sin(2 * z @ self.twist)

    def draw_labels(self, count: int, seed: int) -> None:
        return None

    def synthesize(self, latents: Tensor, noise: list[Tensor]) -> Any:
        images = torch.zeros(len(latents), 3, 4, 4)
        images.flatten(start_dim=1)[:, :DIMENSIONS] = latents[:, -1]
        return SimpleNamespace(images=images)


class ExactClassifier:
    """Reads w back off the pixels: attributes are planes in w. `constant` holds for every image."""

    def __init__(self, count: int = 4, constant: bool = False) -> None:
        self.planes = torch.randn(DIMENSIONS, count, generator=torch.Generator().manual_seed(5))
        self.names = [f"plane{index}" for index in range(count)] + (["constant"] if constant else [])
        self.constant = constant

    def __call__(self, images: Tensor) -> Tensor:
        logits = images.flatten(start_dim=1)[:, :DIMENSIONS] @ self.planes
        return torch.cat([logits, torch.full((len(images), 1), 2.0)], dim=1) if self.constant else logits


CONFIG = SeparabilityConfig(num_images=4000, batch_size=200)


def test_attributes_that_are_exactly_linear_in_w() -> None:
    """At most 1.02 an attribute, also on latents the SVM has not seen; in z, where they are not linear, far above."""
    found = linear_separability(ConstructedGenerator(), [ExactClassifier()], CONFIG)
    for attribute in found["w"].attributes:
        assert 1 <= math.exp(attribute.held_out) <= 1.02
        assert 1 <= math.exp(attribute.conditional) <= 1.02
        assert attribute.shuffled > 0.9 * attribute.entropy > 0.5
    assert found["w"].per_attribute("held_out") <= 1.02
    assert found["z"].per_attribute("held_out") > 1.5
    assert found["z"].per_attribute() == pytest.approx(found["z"].score() ** (1 / 4))


def test_constant_attributes_are_listed_and_left_out() -> None:
    found = linear_separability(ConstructedGenerator(), [ExactClassifier(2, constant=True)], CONFIG)["w"]
    assert [attribute.name for attribute in found.attributes] == ["plane0", "plane1"]
    assert found.excluded == {"constant": "0 of 2000 kept samples are of the rarer class, 10 are needed"}
    assert found.as_dict()["scores"]["conditional"] == pytest.approx(found.score())


def test_held_out_and_shuffled_expose_an_overfit() -> None:
    """Labels of pure chance, few samples: the published protocol finds structure, and so does the null."""
    random = np.random.default_rng(0)
    latents, logits = random.normal(size=(600, 150)), random.normal(size=(600, 1))
    config = SeparabilityConfig(num_images=600, held_out_share=0.3)
    (found,) = separability("w", latents, logits, ["chance"], config).attributes
    assert found.conditional < 0.6 * found.entropy
    assert found.shuffled < 0.6 * found.entropy
    assert found.held_out > 0.8 * found.entropy


def test_conditional_entropy_against_the_definition() -> None:
    random = np.random.default_rng(1)
    x, y = random.random(500) < 0.3, random.random(500) < 0.6
    y |= x & (random.random(500) < 0.5)
    joint = np.array([[np.mean((x == i) & (y == j)) for j in (0, 1)] for i in (0, 1)])
    mutual = sum(joint[i, j] * math.log(joint[i, j] / (joint[i].sum() * joint[:, j].sum())) for i in (0, 1) for j in (0, 1))
    marginal = -sum(p * math.log(p) for p in joint.sum(axis=0))
    assert conditional_entropy(x, y) == pytest.approx(marginal - mutual, rel=1e-12)
    assert conditional_entropy(y, y) == 0


def test_only_the_confident_half_counts() -> None:
    """Samples near the plane are mislabelled; the confident half does not contain them."""
    random = np.random.default_rng(2)
    latents = random.normal(size=(1000, 3))
    logits = latents[:, :1].copy()
    near = np.abs(logits) < np.quantile(np.abs(logits), 0.45)
    logits[near] *= -1
    (half,) = separability("w", latents, logits, ["a"], SeparabilityConfig(num_images=1000)).attributes
    (whole,) = separability("w", latents, logits, ["a"], SeparabilityConfig(num_images=1000, kept_share=1.0)).attributes
    assert half.conditional < 0.02 and half.num_kept == 500
    assert whole.conditional > 0.3


def test_a_rare_class_is_in_both_parts() -> None:
    """Two of twenty samples are positive: one is held out and one is fitted to, whatever share is asked for."""
    latents = np.concatenate([np.full((2, 1), 5.0), np.linspace(-6, -5, 18)[:, None]])
    for share in (0.01, 0.5, 0.99):
        config = SeparabilityConfig(num_images=20, kept_share=1.0, held_out_share=share, smallest_class=2)
        (found,) = separability("w", latents, latents, ["a"], config).attributes
        assert (found.num_kept, found.positive_share) == (20, 0.1)
        assert found.entropy == pytest.approx(-(0.1 * math.log(0.1) + 0.9 * math.log(0.9)))
        assert (found.conditional, found.held_out) == (0, 0)


def test_smallest_configuration() -> None:
    config = SeparabilityConfig(num_images=1, kept_share=1.0, samples_per_dimension=1, smallest_class=2, batch_size=1)
    assert config.required_images(3) == 3
    config.check(1)
    with pytest.raises(InputError, match="smallest_class must be at least 2, got 1"):
        SeparabilityConfig(smallest_class=1)


def test_too_few_images_says_how_many() -> None:
    with pytest.raises(InputError, match="319 images are too few for 8 latent dimensions; at least 320 give 20"):
        linear_separability(ConstructedGenerator(), [ExactClassifier()], SeparabilityConfig(num_images=319))


def test_wrong_input() -> None:
    with pytest.raises(InputError, match="names of their own"):
        linear_separability(ConstructedGenerator(), [ExactClassifier(), ExactClassifier()], CONFIG)
    with pytest.raises(InputError, match="sample 1 has logits that are not finite"):
        separability("w", np.zeros((2, 1)), np.array([[0.0], [np.nan]]), ["a"], CONFIG)
    with pytest.raises(InputError, match="no attribute has two classes"):
        separability("w", np.zeros((100, 1)), np.ones((100, 1)), ["a"], CONFIG)
    with pytest.raises(InputError, match="held_out_share must be between 0 and 1"):
        SeparabilityConfig(held_out_share=1.0)
