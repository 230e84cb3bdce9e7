"""The layers of a class-conditional generator as the analysis reads them, against the generator itself."""

import pytest
import torch
from torch import Tensor

from sarigan.analysis.awareness_report import awareness_record, awareness_table, measure_awareness
from sarigan.analysis.channel_awareness import Gains
from sarigan.analysis.channel_effects import NOTHING, channel_effect, generated, part_lift, strongest_channels
from sarigan.analysis.class_hybrid import chosen_channels, hybrid_images
from sarigan.analysis.conditional_channels import ConditionalChannels, is_class_conditional, mean_awareness
from sarigan.editing.seeds import z_of_seeds
from sarigan.errors import InputError
from sarigan.layers.grouping import GroupingConfig
from sarigan.layers.intervention import ChannelEdit, GivenGains
from sarigan.models.class_conditional_generator import ClassConditionalGenerator, ClassConditionalGeneratorConfig
from sarigan.models.generator import Generator, GeneratorConfig

NAMES = ["boot", "coat", "hat"]


@pytest.fixture(scope="module")
def generator() -> ClassConditionalGenerator:
    """Two blocks whose classes differ: the embedding is enlarged."""
    config = ClassConditionalGeneratorConfig(
        resolution=16, z_dim=6, channels=6, multipliers=[2, 1, 1], class_dim=4, attention_resolution=8, standing_batches=2,
        standing_batch_size=8, class_names=NAMES, class_shares=[0.5, 0.25, 0.25],
    )  # fmt: skip
    made = ClassConditionalGenerator(config).eval().requires_grad_(False)
    made.mapping.embedding.weight.mul_(3)  # type: ignore[union-attr]
    made.set_test_statistics()
    return made


@pytest.fixture
def model(generator: ClassConditionalGenerator) -> ConditionalChannels:
    return ConditionalChannels(generator)


def convolved(generator: ClassConditionalGenerator, layer: str, z: Tensor, labels: Tensor) -> Tensor:
    """What the convolution of a layer sees, by a hook of its own."""
    found = []
    module = dict(generator.synthesis.named_layers())[layer]
    handle = module.convolution.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    generator(z, labels=labels)
    handle.remove()
    return found[0][:, :, ::2, ::2] if module.up else found[0]


def test_it_generates_what_the_generator_does(generator: ClassConditionalGenerator, model: ConditionalChannels) -> None:
    z, labels = model.latents([3, 8, 9]), torch.tensor([2, 0, 1])
    images, features = model.generate(z, labels)
    output = generator(z, labels=labels)
    assert torch.equal(images, output.images) and model.num_channels == {
        "8x8.up": 12, "8x8.conv": 6, "16x16.up": 6, "16x16.conv": 6,
    }  # fmt: skip
    for layer, (gamma, beta) in model.gains(z, labels).items():
        torch.testing.assert_close(gamma, output.codes[layer].z_scale)
        torch.testing.assert_close(beta, output.codes[layer].z_bias)
        torch.testing.assert_close(features[layer], convolved(generator, layer, z, labels))
        assert not dict(generator.synthesis.named_layers())[layer].activation._forward_hooks  # left as it was
    assert torch.equal(ConditionalChannels(generator, 0.5).latents([3]), 0.5 * z_of_seeds(generator, [3]))


def test_given_gains(generator: ClassConditionalGenerator, model: ConditionalChannels) -> None:
    """Its own gains change nothing, those of another class make its image, and zeros silence a layer."""
    z, labels = model.latents([3, 8]), torch.tensor([2, 0])
    torch.testing.assert_close(model.generate(z, labels, model.gains(z, labels))[0], model.generate(z, labels)[0])
    tables = mean_awareness(model, range(4))
    chosen = chosen_channels(tables, list(tables), "awareness", 12)
    other = model.generate(z, torch.tensor([1, 1]))[0]
    torch.testing.assert_close(hybrid_images(model, z, 2, 1, chosen), other)
    zeros = Gains(torch.zeros(2, 6), torch.zeros(2, 6))
    _, features = model.generate(z, labels, {"8x8.conv": zeros})
    assert features["8x8.conv"].abs().max() == 0 and features["8x8.up"].abs().max() > 0
    for wrong, message in (
        (GivenGains("4x4.up", zeros.gamma, zeros.beta), "no layer '4x4.up': the layers are 8x8.up"),
        (GivenGains("8x8.up", zeros.gamma, zeros.beta), r"layer 8x8.up: gains and biases must be \[N,12\], got \(2, 6\)"),
    ):
        with pytest.raises(InputError, match=message):
            generator(z, labels=labels, interventions=[wrong])


@pytest.mark.parametrize(("operation", "amount"), [("scale", 0.0), ("scale", 3.0), ("shift", 1.5)])
def test_an_edit_changes_one_channel_after_relu(model: ConditionalChannels, operation: str, amount: float) -> None:
    z, labels = model.latents([1]), torch.tensor([1])
    _, before = model.generate(z, labels)
    channel = int(before["8x8.conv"].mean(dim=(0, 2, 3)).argmax())
    _, after = model.generate(z, labels, edits=[ChannelEdit("8x8.conv", channel, operation, amount)])
    expected = before["8x8.conv"].clone()
    expected[:, channel] = expected[:, channel] * amount if operation == "scale" else expected[:, channel] + amount
    torch.testing.assert_close(after["8x8.conv"], expected)
    assert torch.equal(after["8x8.up"], before["8x8.up"]) and not torch.equal(after["16x16.up"], before["16x16.up"])
    for edit, message in (
        (ChannelEdit("8x8.conv", 6, "scale", 1.0), "no channel 6 in layer 8x8.conv: the channels are 0 to 5"),
        (ChannelEdit("to_rgb", 0, "scale", 1.0), "no layer 'to_rgb': the layers are 8x8.up, 8x8.conv"),
    ):
        with pytest.raises(InputError, match=message):
            model.generate(z, labels, edits=[edit])


def test_effects(model: ConditionalChannels) -> None:
    seeds, labels = [1, 2, 5], torch.tensor([0, 0, 0])
    originals = generated(model, seeds, labels)
    nothing = channel_effect(model, seeds, labels, ChannelEdit("8x8.conv", 0, "scale", 1.0), originals)
    assert nothing.change == 0 and nothing.does_nothing
    much = channel_effect(model, seeds, labels, ChannelEdit("8x8.conv", 0, "shift", 30.0), originals)
    assert much.change == pytest.approx(127.5 * float((much.images - originals).abs().mean())) and much.change > NOTHING
    assert much.strongest == pytest.approx(127.5 * float(much.map.max())) and not much.does_nothing
    assert strongest_channels(torch.tensor([1.0, 5, 3]), 2) == [1, 2]


def test_lift_of_a_change() -> None:
    """All of the change on a quarter of the picture: four times its share there."""
    masks = torch.zeros(1, 4, 4, dtype=torch.int64)
    masks[:, :2, :2] = 1
    assert part_lift((masks == 1).double(), masks, 2).tolist() == [0, 4]
    assert part_lift(torch.ones(1, 4, 4), masks, 2).tolist() == pytest.approx([1, 1])
    assert part_lift(torch.ones(1, 4, 4), masks, 3)[2].isnan()
    speck = torch.zeros(1, 11, 11, dtype=torch.int64)
    speck[0, 0, 0] = 1
    assert part_lift((speck == 1).double(), speck, 2)[1].isnan()  # 1 of 121 pixels


def test_report_of_all_layers(generator: ClassConditionalGenerator) -> None:
    found = measure_awareness(generator, range(6), 8, 20)
    record = awareness_record(found, NAMES, 6)
    assert [*record["layers"]] == ["8x8.up", "8x8.conv", "16x16.up", "16x16.conv"] and [*record["total"]] == NAMES
    first = record["layers"]["8x8.conv"]
    assert first["top"] == 6 and sum(first["variance_shares"].values()) == pytest.approx(1)
    assert first["closed_form_against_measured"]["pearson"] > 0.5
    strongest = first["strongest"]["hat"][0]
    assert strongest["awareness"] == pytest.approx(float(found["8x8.conv"].values[2].max()))
    assert len(awareness_table(found).splitlines()) == 5
    assert record["total"]["coat"] == pytest.approx(sum(layer["total"]["coat"] for layer in record["layers"].values()))
    with pytest.raises(InputError, match="--top must be 1 to 12, the number of channels of the widest layer, got 13"):
        measure_awareness(generator, range(6), 13, 20)


def test_a_style_generator_has_a_report_and_no_tools() -> None:
    config = GeneratorConfig(
        resolution=8, z_dim=4, style_dim=4, mapping_layers=2, channel_base=32, channel_max=8, class_names=NAMES,
        class_shares=[0.2, 0.3, 0.5], grouping=GroupingConfig(num_groups=3),
    )  # fmt: skip
    style = Generator(config).eval()
    assert not is_class_conditional(style)
    record = awareness_record(measure_awareness(style, range(5), 2, 10), NAMES, 5)
    assert record["layers"]["8x8.up"]["channels"] == 3  # groups
    assert record["layers"]["8x8.up"]["closed_form_against_measured"] is None
    with pytest.raises(InputError, match=r"class-conditional normalisation \(system: class_conditional\)"):
        ConditionalChannels(style)
