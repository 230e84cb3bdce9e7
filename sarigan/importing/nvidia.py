"""NVIDIA's networks: pickles of stylegan2-ada-pytorch and of stylegan3 (`--cfg=stylegan2`), and state dictionaries of both."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sarigan.errors import InputError
from sarigan.exporting.layouts.nvidia import (
    discriminator_filters,
    discriminator_parts,
    generator_filters,
    generator_parts,
)
from sarigan.importing.model import ImportedModel, Weights, discriminator_weights, fitted_widths, generator_weights
from sarigan.importing.nvidia_pickle import modules_of, tensors_of
from sarigan.importing.pickle_reader import Record
from sarigan.importing.stored_tensor import StoredTensor
from sarigan.layers.grouping import GroupingConfig
from sarigan.models.discriminator import DiscriminatorConfig
from sarigan.models.generator import GeneratorConfig

KIND = "network pickle of NVIDIA's PyTorch code"
STATE_KIND = "state dictionary for NVIDIA's PyTorch code"
LICENCE = (
    "NVIDIA publishes its networks under licences of its own, most of them for non-commercial use: see the page that the file"
    " came from"
)
STATE_KEY = "nvidia_state"  # marks a file that `sarigan export --format nvidia_state` wrote
ALIAS_FREE = (
    "an alias-free StyleGAN3 (configuration stylegan3-t or stylegan3-r), another architecture; of NVIDIA's networks those of"
    " stylegan2-ada-pytorch and of stylegan3 with --cfg=stylegan2 are read"
)
EMBEDDING = "mapping.embed.weight"  # [features, classes]
CLASSES_NOTE = (
    "its classes have numbers for names, as in dataset.json; a command that needs its images wants data.name, data.path and"
    " data.labels"
)


@dataclass
class NvidiaNetwork:
    """A network's tensors, and what its modules or its arguments say beside them."""

    tensors: Mapping[str, StoredTensor]
    settings: dict[str, set[Any]] = field(default_factory=dict)  # by `<class>.<attribute>`: the plain values that occur

    def only(self, name: str, default: Any) -> Any:
        """The value of a setting; the default where it does not occur. InputError when its modules differ."""
        values = self.settings.get(name, {default})
        if len(values) != 1:
            raise InputError(f"{name} has several values in one network: {sorted(map(str, values))[:3]}")
        return next(iter(values))


def is_nvidia(tree: Any) -> bool:
    """Whether a file's value is a pickle of networks, or a file of state dictionaries for the same code."""
    return isinstance(tree, dict) and (STATE_KEY in tree or any(isinstance(tree.get(key), Record) for key in ("G_ema", "G")))


def read_nvidia(tree: dict[str, Any]) -> ImportedModel:
    """The model in a file; InputError for what is not read, or does not fit together."""
    notes: list[str] = []
    average, online = _network(tree, "G_ema"), _network(tree, "G")
    if average is None:
        average, online = online, None
        notes.append("the file has no G_ema: G stands for the average")
    if average is None:
        raise InputError("holds neither G_ema nor G")
    config = infer_generator(average)
    parts, filters = generator_parts(config), generator_filters(config)

    def weights(network: NvidiaNetwork, name: str) -> Weights:
        check_generator(network, name)
        return generator_weights(config, parts, filters, network.tensors, name)

    model = ImportedModel(
        STATE_KIND if STATE_KEY in tree else KIND, LICENCE, config, weights(average, "G_ema"),
        None if online is None else weights(online, "G"), None, DiscriminatorConfig(config.channel_base, config.channel_max),
        {"information_weight": 0.0}, notes=notes,
    )  # fmt: skip
    num_classes = len(config.class_names)
    if num_classes:
        model.data = {"name": "folder", "path": "dataset.zip", "labels": "dataset.json"}
        notes.append(CLASSES_NOTE)
    discriminator = _network(tree, "D")
    reason = "the file has no D" if discriminator is None else _unreadable(discriminator, num_classes)
    if discriminator is None or reason:
        notes.append(f"{reason}: a discriminator for fine-tuning starts anew")
        return model
    resolution = config.resolution
    model.discriminator_config = infer_discriminator(discriminator, resolution)
    model.discriminator = discriminator_weights(
        model.discriminator_config, resolution, 0, discriminator_parts(resolution, bool(num_classes)),
        discriminator_filters(resolution), discriminator.tensors, "D", num_classes,
    )  # fmt: skip
    return model


def check_generator(network: NvidiaNetwork, name: str) -> None:
    """InputError for a network of another kind than StyleGAN2's, which it names."""
    names = network.tensors.keys()
    if any(re.match(r"synthesis\.(input\.|L\d+_)", key) for key in names):
        raise InputError(f"{name} is {ALIAS_FREE}")
    for setting, right in (
        ("SynthesisBlock.architecture", "skip"), ("SynthesisLayer.activation", "lrelu"), ("Generator.img_channels", 3),
    ):  # fmt: skip
        if (value := network.only(setting, right)) != right:
            raise InputError(f"{name}: {setting.split('.')[1]} must be {right!r}, the only one there is here, got {value!r}")


def infer_generator(network: NvidiaNetwork) -> GeneratorConfig:
    """Resolution, widths, depth and the mapping's learning rate from names, shapes and settings."""
    check_generator(network, "G_ema")
    widths = _widths(network, r"synthesis\.b(\d{1,4})\.conv1\.weight")
    if min(widths, default=0) != 4:
        raise InputError("G_ema has no synthesis.b4.conv1.weight; a StyleGAN2 generator is right")
    base, widest = fitted_widths(list(widths.values()), "G_ema")
    depth = 0
    while f"mapping.fc{depth}.weight" in network.tensors:
        depth += 1
    shapes = [network.tensors[f"mapping.fc{index}.weight"].shape for index in range(depth)]
    if not shapes or any(len(shape) != 2 for shape in shapes):
        raise InputError("G_ema has no mapping.fc0.weight, or one that is no matrix")
    embedding, num_classes = _embedding(network)
    z_dim = shapes[0][1] - embedding
    if embedding not in (0, shapes[-1][0]) or z_dim < 1:
        raise InputError(f"G_ema embeds a class in {embedding} numbers; as many as w has are right, {shapes[-1][0]}, beside z")
    multiplier = network.only("mapping.bias_gain", 0.01)
    if not isinstance(multiplier, float | int):
        raise InputError("G_ema: the learning-rate multiplier of its mapping must be a number")
    return GeneratorConfig(
        max(widths), z_dim=z_dim, style_dim=shapes[-1][0], mapping_layers=depth,
        mapping_learning_rate_multiplier=float(multiplier), channel_base=base, channel_max=widest,
        noise=network.only("SynthesisLayer.use_noise", True) is not False,
        stored_noise="synthesis.b4.conv1.noise_const" in network.tensors, grouping=GroupingConfig(kind="none"),
        class_names=[str(label) for label in range(num_classes)], class_shares=[1 / num_classes for _ in range(num_classes)],
    )  # fmt: skip


def _embedding(network: NvidiaNetwork) -> tuple[int, int]:
    """In how many numbers a class is embedded, and how many classes there are; zeros for a network without classes."""
    if EMBEDDING not in network.tensors:
        return 0, 0
    shape = network.tensors[EMBEDDING].shape
    if len(shape) != 2:
        raise InputError(f"{EMBEDDING} must have the shape [features, classes], got {shape}")
    return shape[0], shape[1]


def infer_discriminator(network: NvidiaNetwork, resolution: int) -> DiscriminatorConfig:
    """Widths from shapes, and the group of the minibatch standard deviation from the settings."""
    blocks = _widths(network, r"b(\d{1,4})\.conv0\.weight")
    last = network.tensors.get("b4.fc.weight")
    if last is None or len(last.shape) != 2 or max(blocks, default=0) != resolution:
        raise InputError(f"D is for {max(blocks, default=0)} px, the generator for {resolution} px")
    group = network.only("MinibatchStdLayer.group_size", 4)
    if network.only("MinibatchStdLayer.num_channels", 1) != 1 or not isinstance(group, int):
        raise InputError("D: its minibatch standard deviation must have one channel and a group of a whole number")
    # The first convolution of a block keeps the width of its resolution.
    return DiscriminatorConfig(*fitted_widths([last.shape[0], *blocks.values()], "D"), minibatch_stddev_group=group)


def _unreadable(network: NvidiaNetwork, num_classes: int) -> str:
    """Why a discriminator is left out; empty when it is not."""
    if (found := _embedding(network)[1]) != num_classes:
        return f"D is for {found} classes, G for {num_classes}"
    if num_classes and network.only("mapping.bias_gain", 0.01) != 0.01:
        return "D maps its classes with another learning-rate multiplier than 0.01, the only one there is here"
    architecture = network.only("DiscriminatorBlock.architecture", "resnet")
    return "" if architecture == "resnet" else f"D has the architecture {architecture!r}, and only 'resnet' there is here"


def _network(tree: Mapping[str, Any], key: str) -> NvidiaNetwork | None:
    value = tree.get(key)
    if isinstance(value, Record):
        return NvidiaNetwork(tensors_of(value), _settings(value))
    if not isinstance(value, dict):
        return None
    if not all(isinstance(name, str) and isinstance(tensor, StoredTensor) for name, tensor in value.items()):
        raise InputError(f"{key} must be a state dictionary of tensors")
    return NvidiaNetwork(value, _argument_settings(tree.get(STATE_KEY)))


def _argument_settings(arguments: Any) -> dict[str, set[Any]]:
    """What the arguments in a file of state dictionaries say that its shapes do not."""
    found = {}
    for network, group, argument, setting in (
        ("G", "mapping_kwargs", "lr_multiplier", "mapping.bias_gain"),
        ("D", "epilogue_kwargs", "mbstd_group_size", "MinibatchStdLayer.group_size"),
    ):
        value = arguments
        for key in (network, group, argument):
            value = value.get(key) if isinstance(value, dict) else None
        if type(value) in (int, float):
            found[setting] = {value}
    return found


def _settings(network: Record) -> dict[str, set[Any]]:
    """Attributes of the modules by `<class>.<attribute>`; of the mapping's layers by `mapping.<attribute>`."""
    found: dict[str, set[Any]] = {}
    for name, module in modules_of(network):
        kind = "mapping" if name.startswith("mapping.fc") else module.kind
        for key, value in _plain(module.state):
            found.setdefault(f"{kind}.{key}", set()).add(value)
    return found


def _plain(state: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in state.items():
        if isinstance(key, str) and type(value) in (str, int, float, bool):
            yield key, value


def _widths(network: NvidiaNetwork, pattern: str) -> dict[int, int]:
    """Output channels by resolution, in order, of the convolutions whose names fit; resolutions must double."""
    found = {
        int(match[1]): tensor.shape[0]
        for name, tensor in network.tensors.items()
        if (match := re.fullmatch(pattern, name)) and tensor.shape
    }
    ordered = sorted(found)
    if any(b != 2 * a for a, b in zip(ordered[:-1], ordered[1:], strict=True)) or (ordered and ordered[0] not in (4, 8)):
        raise InputError(f"the resolutions {ordered} are not 4, 8, ... px")
    return {resolution: found[resolution] for resolution in ordered}
