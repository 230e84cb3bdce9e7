"""NVIDIA's pickles: a real one with its expected images, and variants written here; what is no StyleGAN2 is named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from network_pickles import network, network_pickle
from torch import Tensor

from sarigan import load_generator
from sarigan.errors import InputError
from sarigan.exporting.foreign_export import nvidia_state
from sarigan.importing.foreign_file import read_foreign
from sarigan.importing.nvidia import CLASSES_NOTE
from sarigan.importing.nvidia_pickle import read_network_pickle, tensors_of
from sarigan.layers.grouping import GroupingConfig
from sarigan.models.discriminator import Discriminator, DiscriminatorConfig
from sarigan.models.generator import Generator, GeneratorConfig
from sarigan.pretrained import load_system


def test_the_images_and_logits_of_nvidias_own_code(real_data: Path) -> None:
    """network_ada_64.pkl, whose embedded source text raises when it is run."""
    path, expected_path = real_data / "network_ada_64.pkl", real_data / "network_ada_64_expected.npz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    with np.load(expected_path) as file:
        expected = {name: torch.from_numpy(file[name]) for name in file.files}
    system, config = load_system(path)
    generator = system.averages["ema_generator"].module
    z = expected["z"]
    for name, options in {
        "image": {"noise": "fixed"}, "image_no_noise": {"noise": "none"},
        "image_psi07": {"noise": "fixed", "truncation_psi": 0.7},
    }.items():  # fmt: skip
        torch.testing.assert_close(generator(z, **options).images, expected[name], rtol=0, atol=1e-4)
    logits = system.networks["discriminator"](expected["image"]).logits
    torch.testing.assert_close(logits, expected["logits"][:, 0], rtol=0, atol=1e-3)
    assert config.generator.mapping_layers == 2 and config.discriminator.minibatch_stddev_group == 4

    # Written for NVIDIA's code it has the names, shapes and bits of the file, resampling filters among them.
    written, _ = nvidia_state(generator, system.networks["generator"], system.networks["discriminator"], config.discriminator)
    for name, record in read_network_pickle(path).items():
        if name in ("G", "D", "G_ema"):
            there = tensors_of(record)
            assert written[name].keys() == there.keys()
            assert all(torch.equal(value, there[key].load()) for key, value in written[name].items())
    assert written["nvidia_state"]["G"]["synthesis_kwargs"] == {
        "channel_base": 1024,
        "channel_max": 64,
        "num_fp16_res": 0,
        "conv_clamp": None,
    }


@pytest.fixture(scope="module")
def states() -> dict[str, dict[str, Tensor]]:
    """State dictionaries of small networks by NVIDIA's names: 16 px, widths 6, 6, 4, z of 5 and w of 7."""
    config = GeneratorConfig(
        16, z_dim=5, style_dim=7, mapping_layers=3, channel_base=32, channel_max=6, grouping=GroupingConfig(kind="none")
    )
    generators = [Generator(config), Generator(config)]
    for generator in generators:
        generator.update_mean_latent(100)
    widths = DiscriminatorConfig(32, 5)
    state, _ = nvidia_state(*generators, Discriminator(widths, 16), widths)
    return {name: state[name] for name in ("G_ema", "G", "D")}


def written(path: Path, states: dict[str, dict[str, Tensor]], protocol: int = 4, **changes: Any) -> Path:
    """A pickle of the networks; changes: a network's settings by its name, or None to leave it out."""
    roots = {"G_ema": "Generator", "G": "Generator", "D": "Discriminator"}
    kept = {name: state for name, state in states.items() if changes.get(name, {}) is not None}
    networks = {name: network(state, changes.get(name, {}), roots[name]) for name, state in kept.items()}
    path.write_bytes(network_pickle(networks, protocol))
    return path


@pytest.mark.parametrize("protocol", [3, 4])
def test_every_tensor_arrives(protocol: int, states: dict[str, dict[str, Tensor]], tmp_path: Path) -> None:
    """Bit for bit: out again it is the same state."""
    system, config = load_system(written(tmp_path / "a.pkl", states, protocol))
    found, _ = nvidia_state(
        system.averages["ema_generator"].module, system.networks["generator"], system.networks["discriminator"],
        config.discriminator,
    )  # fmt: skip
    for name, state in states.items():
        assert state.keys() == found[name].keys()
        assert all(torch.equal(value, found[name][key]) for key, value in state.items())
    generator = config.generator
    assert (generator.resolution, generator.z_dim, generator.w_dim, generator.mapping_layers) == (16, 5, 7, 3)


def test_settings_that_no_shape_shows(states: dict[str, dict[str, Tensor]], tmp_path: Path) -> None:
    layers = {f"mapping.fc{index}": {"bias_gain": 0.1, "activation": "lrelu"} for index in range(3)}
    mbstd = {"b4": {"class": "MinibatchStdLayer", "group_size": 8, "num_channels": 1}}
    model = read_foreign(written(tmp_path / "a.pkl", states, G_ema=layers, D=mbstd))
    assert model.generator_config.mapping_learning_rate_multiplier == 0.1
    assert model.discriminator_config.minibatch_stddev_group == 8
    mbstd["b4"]["num_channels"] = 2
    with pytest.raises(InputError, match="standard deviation must have one channel"):
        read_foreign(written(tmp_path / "b.pkl", states, D=mbstd))


def test_a_generator_without_noise(states: dict[str, dict[str, Tensor]], tmp_path: Path) -> None:
    silent = {name: value for name, value in states["G_ema"].items() if "noise" not in name}
    assert len(silent) < len(states["G_ema"])
    layers = {
        name: {"class": "SynthesisLayer", "use_noise": False}
        for name in ("synthesis.b4.conv1", *(f"synthesis.b{r}.conv{n}" for r in (8, 16) for n in (0, 1)))
    }
    path = written(tmp_path / "a.pkl", {"G_ema": silent, "G": silent, "D": states["D"]}, G_ema=layers, G=layers)
    z = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    expected = load_generator(written(tmp_path / "b.pkl", states))(z, noise="none").images
    assert torch.equal(load_generator(path)(z).images, expected)


def test_what_is_left_out_is_said(states: dict[str, dict[str, Tensor]], tmp_path: Path) -> None:
    orig = {"b16": {"class": "DiscriminatorBlock", "architecture": "orig"}}
    assert "D has the architecture 'orig'" in read_foreign(written(tmp_path / "a.pkl", states, D=orig)).notes[0]
    without = read_foreign(written(tmp_path / "b.pkl", states, D=None, G=None))
    assert without.notes == ["the file has no D: a discriminator for fine-tuning starts anew"] and without.generator is None
    only = read_foreign(written(tmp_path / "c.pkl", states, D=None, G_ema=None))
    assert "G stands for the average" in only.notes[0]


def renamed(state: dict[str, Tensor], old: str, new: str) -> dict[str, Tensor]:
    return {name.replace(old, new): value for name, value in state.items()}


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (lambda s: renamed(s, "synthesis.b16", "synthesis.L0_16_6"), {}, "is an alias-free StyleGAN3"),
        (lambda s: {**s, "synthesis.input.freqs": torch.zeros(3)}, {}, "is an alias-free StyleGAN3"),
        (lambda s: {**s, "mapping.embed.weight": torch.zeros(4, 10)}, {}, "embeds a class in 4 numbers; as many as w has are"),
        (lambda s: {**s, "mapping.embed.weight": torch.zeros(7, 10)}, {}, "embeds a class in 7 numbers"),  # nothing left for z
        (lambda s: {**s, "mapping.embed.weight": torch.zeros(7)}, {}, "must have the shape [features, classes]"),
        (lambda s: s, {"synthesis.b8": {"class": "SynthesisBlock", "architecture": "resnet"}}, "architecture must be 'skip'"),
        (lambda s: s, {"synthesis.b8.conv1": {"class": "SynthesisLayer", "activation": "relu"}}, "activation must be 'lrelu'"),
        (lambda s: s, {"": {"class": "Generator", "img_channels": 1}}, "img_channels must be 3"),
        (lambda s: s, {"mapping.fc0": {"bias_gain": "x"}}, "must be a number"),
        (lambda s: s, {f"mapping.fc{i}": {"bias_gain": i} for i in range(2)}, "mapping.bias_gain has several values"),
        (lambda s: renamed(s, "b8", "b9"), {}, "the resolutions [4, 9, 16] are not 4, 8, ... px"),
        (lambda s: renamed(s, "b4.conv1", "b4.x"), {}, "has no synthesis.b4.conv1.weight"),
        (lambda s: {k: v for k, v in s.items() if not k.startswith("mapping")}, {}, "has no mapping.fc0.weight"),
        (lambda s: {k: v for k, v in s.items() if k != "mapping.w_avg"}, {}, "has no mapping.w_avg"),
        (lambda s: {**s, "synthesis.b8.resample_filter": torch.ones(4, 4)}, {}, "another resampling filter"),
        (lambda s: {**s, "mapping.fc1.weight": torch.zeros(7, 9)}, {}, "mapping.fc1.weight must have the shape (7, 7)"),
    ],
)
def test_what_is_no_such_generator(
    change: Callable[[Any], Any], settings: dict[str, Any], message: str, states: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    path = written(tmp_path / "a.pkl", {**states, "G_ema": change(states["G_ema"])}, G_ema=settings)
    with pytest.raises(InputError) as caught:
        load_generator(path)
    assert message in str(caught.value) and str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_discriminator_of_another_size(states: dict[str, dict[str, Tensor]], tmp_path: Path) -> None:
    smaller = {name: value for name, value in states["D"].items() if not name.startswith("b16")}
    with pytest.raises(InputError, match="D is for 8 px, the generator for 16 px"):
        read_foreign(written(tmp_path / "a.pkl", {**states, "D": smaller}))


@pytest.fixture(scope="module")
def conditional_states() -> dict[str, dict[str, Tensor]]:
    """As `states`, of 3 classes."""
    config = GeneratorConfig(
        16, z_dim=5, style_dim=7, mapping_layers=2, channel_base=32, channel_max=6, grouping=GroupingConfig(kind="none"),
        class_names=["a", "b", "c"], class_shares=[0.2, 0.3, 0.5],
    )  # fmt: skip
    torch.manual_seed(1)
    generators = [Generator(config), Generator(config)]
    widths = DiscriminatorConfig(32, 5)
    discriminator = Discriminator(widths, 16, num_classes=3)
    for network_ in (*generators, discriminator):
        for name, parameter in network_.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter)  # zeros would hide where a bias goes
    state, notes = nvidia_state(*generators, discriminator, widths)
    assert state["nvidia_state"]["G"]["c_dim"] == state["nvidia_state"]["D"]["c_dim"] == 3 and not notes
    return {name: state[name] for name in ("G_ema", "G", "D")}


def test_a_network_of_classes(conditional_states: dict[str, dict[str, Tensor]], tmp_path: Path) -> None:
    """w and the numbers that D's features are multiplied with, by the equations of StyleGAN2-ADA in float64."""
    path = written(tmp_path / "a.pkl", conditional_states)
    assert CLASSES_NOTE in read_foreign(path).notes
    system, config = load_system(path)
    assert config.class_names == ["0", "1", "2"] and config.generator.z_dim == 5
    generator, labels = system.averages["ema_generator"].module, torch.tensor([2, 0])
    z = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))

    def normalised(x: Tensor) -> Tensor:
        return x / (x.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()

    def mapped(network_: str, x: list[Tensor], num_layers: int) -> Tensor:
        state = {name: value.double() for name, value in conditional_states[network_].items()}
        embedded = torch.eye(3, dtype=torch.float64)[labels] @ state["mapping.embed.weight"].t() / 3**0.5
        y = torch.cat([*map(normalised, x), normalised(embedded + state["mapping.embed.bias"])], dim=1)
        for index in range(num_layers):
            weight, bias = state[f"mapping.fc{index}.weight"], state[f"mapping.fc{index}.bias"]
            y = y @ weight.t() * 0.01 / weight.shape[1] ** 0.5 + bias * 0.01
            y = torch.nn.functional.leaky_relu(y, 0.2) * 2**0.5
        return y

    torch.testing.assert_close(generator.mapping(z, labels).double(), mapped("G_ema", [z.double()], 2), rtol=1e-5, atol=1e-5)
    label_mapping = system.networks["discriminator"].label_mapping
    torch.testing.assert_close(label_mapping(None, labels).double(), mapped("D", [], 8), rtol=1e-5, atol=1e-5)

    found, _ = nvidia_state(generator, system.networks["generator"], system.networks["discriminator"], config.discriminator)
    for name, state in conditional_states.items():
        assert state.keys() == found[name].keys()
        assert all(torch.equal(value, found[name][key]) for key, value in state.items())


def test_a_discriminator_of_other_classes_is_left_out(
    states: dict[str, dict[str, Tensor]], conditional_states: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    mixed = {**conditional_states, "D": states["D"]}
    assert "D is for 0 classes, G for 3" in " ".join(read_foreign(written(tmp_path / "a.pkl", mixed)).notes)
    slow = {"mapping.fc0": {"bias_gain": 0.1}}
    notes = read_foreign(written(tmp_path / "b.pkl", conditional_states, D=slow)).notes
    assert "another learning-rate multiplier" in " ".join(notes)
