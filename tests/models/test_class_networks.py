"""Networks of a class: mapping and projection discriminator against slow float64 loops, and their sizes."""

import math

import numpy as np
import pytest
import torch

from sarigan.errors import InputError
from sarigan.layers.grouping import GroupingConfig
from sarigan.layers.linear import EqualizedLinear
from sarigan.models.discriminator import Discriminator, DiscriminatorConfig
from sarigan.models.generator import Generator, GeneratorConfig, LatentMixing
from sarigan.models.mapping import MappingNetwork, draw_labels
from sarigan.systems.system import count_parameters

NAMES, SHARES = ["a", "b", "c"], [0.5, 0.3, 0.2]
TINY = {
    "resolution": 8, "z_dim": 6, "style_dim": 5, "mapping_layers": 2, "channel_base": 32, "channel_max": 8,
    "grouping": GroupingConfig(num_groups=3),
}  # fmt: skip


def normalized(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x**2).mean() + 1e-8)


def dense(layer: EqualizedLinear, x: np.ndarray, multiplier: float = 1.0) -> np.ndarray:
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    return (weight @ x) * multiplier / math.sqrt(len(x)) + multiplier * bias


def mapped(network: MappingNetwork, z: np.ndarray, label: int, num_classes: int) -> np.ndarray:
    """One sample, from the definition: embed the one-hot vector, normalise both parts, concatenate, 0.01 lr layers."""
    assert network.embedding is not None
    embedded = normalized(dense(network.embedding, np.eye(num_classes)[label]))
    x = np.concatenate([normalized(z), embedded]) if len(z) else embedded
    for layer in network.layers:
        x = dense(layer, x, 0.01)
        x = np.where(x > 0, x, 0.2 * x) * math.sqrt(2)
    return x


def with_biases(network: MappingNetwork) -> MappingNetwork:
    with torch.no_grad():
        for layer in network.layers:
            layer.bias.normal_(std=50)
        if network.embedding is not None:
            network.embedding.bias.normal_()
    return network


@pytest.mark.parametrize("z_dim", [6, 0])
def test_mapping_of_a_class(z_dim: int) -> None:
    network = with_biases(MappingNetwork(z_dim, 5, 7, num_layers=3, num_classes=4).double())
    z, labels = torch.randn(9, z_dim, dtype=torch.float64), torch.arange(9) % 4
    found = network(z if z_dim else None, labels).detach().numpy()
    expected = [mapped(network, row.numpy(), int(label), 4) for row, label in zip(z, labels, strict=True)]
    np.testing.assert_allclose(found, np.stack(expected), rtol=1e-10)


def test_projection_discriminator() -> None:
    """logit = head(features) . mapping(label) / sqrt(C)."""
    network = Discriminator(DiscriminatorConfig(32, 8), 8, code_dim=3, num_classes=4).double()
    assert network.label_mapping is not None
    with_biases(network.label_mapping)
    images, labels = torch.randn(8, 3, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 3, 2, 1, 0])
    seen = []
    network.dense.register_forward_hook(lambda *call: seen.append(call[2].detach().numpy()))
    output = network(images, labels=labels)
    for features, label, logit in zip(seen[0], labels, output.logits, strict=True):
        projected = dense(network.head, features) @ mapped(network.label_mapping, np.empty(0), int(label), 4)
        assert logit.item() == pytest.approx(projected / math.sqrt(8), rel=1e-10)
    assert output.codes is not None and output.codes.shape == (8, 3)
    # Q sees the image alone.
    torch.testing.assert_close(network(images, labels=labels.flip(0)).codes, output.codes)


@pytest.mark.parametrize(
    ("grouping", "code_dim", "generator", "discriminator"),
    [
        # G: embedding 10 * 512 + 512 and 512 more inputs of the first layer, 512^2; beside the published 24,767,458.
        # D: 512 instead of 1 outputs, embedding, 8 layers of 512^2 + 512; beside the published 24,001,089.
        (GroupingConfig(kind="none"), 0, 25_035_234, 26_370_112),
        (GroupingConfig(threshold="learned", initial_threshold=0.25), 1024, 25_467_066, 26_895_424),
    ],
    ids=["stylegan2", "sarigan"],
)
def test_sizes_at_256_with_10_classes(grouping: GroupingConfig, code_dim: int, generator: int, discriminator: int) -> None:
    names = [str(number) for number in range(10)]
    with torch.device("meta"):
        g = Generator(GeneratorConfig(grouping=grouping, class_names=names, class_shares=[0.1] * 10))
        d = Discriminator(DiscriminatorConfig(), 256, code_dim, num_classes=10)
    assert (count_parameters(g), count_parameters(d)) == (generator, discriminator)


def conditional(**options: object) -> Generator:
    return Generator(GeneratorConfig(**TINY, class_names=NAMES, class_shares=SHARES, **options))  # type: ignore[arg-type]


def test_renumbered_classes_with_renumbered_embeddings_make_the_same_images() -> None:
    one, other = conditional(), conditional()
    other.load_state_dict(one.state_dict())
    assert one.mapping.embedding is not None and other.mapping.embedding is not None
    order = torch.tensor([2, 0, 1])
    with torch.no_grad():
        other.mapping.embedding.weight[:, order] = one.mapping.embedding.weight
    z, labels = torch.randn(6, 6), torch.arange(6) % 3
    images = one(z, labels=labels, noise="none").images
    torch.testing.assert_close(images, other(z, labels=order[labels], noise="none").images)
    assert (images - one(z, labels=labels.roll(1), noise="none").images).abs().amax() > 1e-3


@pytest.mark.parametrize("kind", ["layers", "halves"])
def test_both_latents_of_a_mixing_have_the_class(kind: str) -> None:
    generator = conditional()
    z, second, labels = torch.randn(4, 6), torch.randn(4, 6), torch.tensor([0, 1, 2, 0])
    latents = generator.latents(z, LatentMixing(second, kind, crossover=2), labels)
    own, lent = (generator.latents(x, labels=labels) for x in (z, second))
    expected = torch.cat([own[:, :2], lent[:, 2:]], dim=1) if kind == "layers" else torch.cat([own[..., :5], lent[..., 5:]], -1)
    torch.testing.assert_close(latents, expected)


def test_mean_latent_is_the_mean_over_the_classes_by_their_shares() -> None:
    generator = conditional()
    generator.update_mean_latent(20_000)
    with torch.no_grad():
        of_class = [generator.mapping(torch.randn(20_000, 6), torch.full((20_000,), k)).mean(dim=0) for k in range(3)]
    expected = sum(share * mean for share, mean in zip(SHARES, of_class, strict=True))
    assert (generator.mean_latent - expected).abs().max() < 0.03
    assert max((of_class[k] - expected).abs().max() for k in range(3)) > 0.06  # so that the shares matter


def test_labels_have_their_shares_and_are_a_function_of_the_seed() -> None:
    labels = draw_labels(SHARES, 30_000, seed=4)
    counts = torch.bincount(labels) / len(labels)
    assert (counts - torch.tensor(SHARES)).abs().max() < 0.012  # 4 standard deviations
    assert torch.equal(labels, draw_labels(SHARES, 30_000, seed=4))
    assert not torch.equal(labels, draw_labels(SHARES, 30_000, seed=5))


def test_wrong_use_is_one_line() -> None:
    z = torch.randn(2, 6)
    with pytest.raises(InputError, match="has classes: it needs labels"):
        conditional()(z)
    plain = Generator(GeneratorConfig(**TINY))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="has no classes, so it takes no labels"):
        plain(z, labels=torch.zeros(2, dtype=torch.int64))
    assert conditional().class_index("c") == 2 and plain.draw_labels(3, 0) is None
    with pytest.raises(InputError, match="class 'd' does not exist; the generator's classes are a, b, c$"):
        conditional().class_index("d")
    with pytest.raises(InputError, match="class 'a': this generator was trained without classes$"):
        plain.class_index("a")
    for names, shares, message in (
        (["a"], [1.0], "two or more different names, or none; got 1"),
        (["a", "a"], [0.5, 0.5], "different names"),
        (["a", "b"], [1.0], "one number a class, got 1 for 2 classes"),
        (["a", "b"], [0.5, 0.6], "add up to 1, got a sum of 1.1"),
    ):
        with pytest.raises(InputError, match=message):
            GeneratorConfig(class_names=names, class_shares=shares)
