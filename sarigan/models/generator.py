"""The generator: mapping and synthesis, one class for SariGAN and every baseline; methods differ by configuration."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sarigan.device import to_device
from sarigan.errors import InputError, require_at_least_1, require_at_most, require_one_of
from sarigan.files.weights import floating_type, load_weights
from sarigan.layers.grouping import GroupingConfig
from sarigan.layers.intervention import Edit
from sarigan.layers.style import StyleCodes
from sarigan.models.mapping import MappingNetwork, check_classes, draw_labels
from sarigan.models.synthesis import GroupedLayer, SkipSynthesis, check_widths
from sarigan.models.synthesis_adain import AdaINSynthesis
from sarigan.seeding import derive_seed

Noise = str | Sequence[Tensor | None]


@dataclass(frozen=True)
class GeneratorConfig:
    """Defaults are SariGAN at config-E widths."""

    resolution: int = 256  # pixels, a power of two
    synthesis: str = "skip"  # skip (StyleGAN2, SariGAN) | adain (StyleGAN)
    form: str = "weight"  # of grouped layers: weight (Eq. 5-6) | activation (Eq. 3-4)
    style_biases: bool = False  # z_b and h_b of Eq. 3-4
    z_dim: int = 512  # numbers in a latent z
    style_dim: int = 512  # of each half of w where there are groups, of w where there are none
    mapping_layers: int = 8  # from z to w
    mapping_learning_rate_multiplier: float = 0.01  # of the mapping network's weights and rates
    channel_base: int = 8192  # config E; config F: 16384
    channel_max: int = 512  # channels of a layer: 2 channel_base / its resolution, at most this
    noise: bool = True  # layers add noise, each by a learned strength; false: an image is a function of its latents alone
    stored_noise: bool = False  # fixed noise is part of the weights, as in imported models; else it is drawn from seed 0
    grouping: GroupingConfig = field(default_factory=GroupingConfig)
    # Filled in from data.labels when a run starts: the classes in the order of their labels, none for an unconditional
    # generator, and their shares of the images that training sees.
    class_names: list[str] = field(default_factory=list)
    class_shares: list[float] = field(default_factory=list)  # see class_names

    def __post_init__(self) -> None:
        check_widths("generator", self.resolution, self.channel_base, self.channel_max)
        require_one_of(self, "generator.", synthesis=("skip", "adain"), form=("weight", "activation"))
        require_at_least_1(self, "z_dim", "style_dim", "mapping_layers", prefix="generator.")
        check_classes(self.class_names, self.class_shares)
        require_at_most("generator", self, z_dim=16_384, style_dim=16_384, mapping_layers=64)
        if self.mapping_learning_rate_multiplier <= 0:
            raise InputError(
                f"generator.mapping_learning_rate_multiplier must be positive, got {self.mapping_learning_rate_multiplier}"
            )
        if self.synthesis == "adain" and self.grouping.kind != "none":
            raise InputError(f"generator.grouping.kind must be none with generator.synthesis=adain, got {self.grouping.kind!r}")
        if self.stored_noise and not self.noise:
            raise InputError("generator.stored_noise=true needs generator.noise=true")
        if self.form == "activation" and self.grouping.kind == "none":
            raise InputError("generator.form=activation needs groups, got generator.grouping.kind='none'")
        if self.form == "activation" and self.grouping.empty_group == "release":
            raise InputError("generator.grouping.empty_group=release exists in the weight form only, got form='activation'")
        if self.style_biases and (self.grouping.kind == "none" or self.grouping.empty_group == "release"):
            raise InputError("generator.style_biases needs groups and generator.grouping.empty_group=zero")

    @property
    def w_dim(self) -> int:
        """[w_h, w_z] with groups, w without."""
        return self.style_dim * (1 if self.grouping.kind == "none" else 2)


@dataclass
class LatentMixing:
    """Style mixing: a second latent for part of the control.

    `layers`: w of z before latent index `crossover`, w of the second from there on (Karras et al. 2019).
    `halves`: w_h of z with w_z of the second, in every layer, so that one w still describes the image.
    """

    second_z: Tensor  # [N,z_dim]
    kind: str = "layers"
    crossover: int = 0


@dataclass
class GeneratorOutput:
    """Images with what produced them."""

    images: Tensor  # [N,3,R,R], about -1..1, not clamped
    latents: Tensor  # [N,L,w_dim]
    codes: dict[str, StyleCodes]  # z, h and membership of every grouped layer, by layer name (`8x8.up`, ...)

    @property
    def groups(self) -> dict[str, Tensor]:
        """Group index of every input channel [c] of every grouped layer."""
        return {n: c.membership.argmax(dim=1) for n, c in self.codes.items() if c.membership is not None}


class Generator(nn.Module):
    """z [N,z_dim] -> GeneratorOutput."""

    KIND: ClassVar[str] = "style"  # in an export

    mean_latent: Tensor

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.mapping, self.synthesis = self.build_networks()
        # The centre of truncation; set by `update_mean_latent`.
        self.register_buffer("mean_latent", torch.zeros(config.w_dim))
        if config.stored_noise:
            for index, (h, w) in enumerate(self.synthesis.noise_shapes()):
                self.register_buffer(f"noise_{index}", torch.randn(1, 1, h, w))

    def build_networks(self) -> tuple[MappingNetwork, SkipSynthesis | AdaINSynthesis]:
        """Mapping and synthesis of the configuration."""
        config = self.config
        mapping = MappingNetwork(
            config.z_dim, config.style_dim, config.w_dim, config.mapping_layers, config.mapping_learning_rate_multiplier,
            len(config.class_names),
        )  # fmt: skip
        widths = (config.resolution, config.style_dim, config.channel_base, config.channel_max)
        if config.synthesis == "adain":
            return mapping, AdaINSynthesis(*widths, config.noise)
        form = (config.grouping, config.form, config.style_biases)
        return mapping, SkipSynthesis(*widths, *form, adds_noise=config.noise)

    @property
    def num_latents(self) -> int:
        """L = 2 log2 R - 2."""
        return self.synthesis.num_latents

    def grouped_layers(self) -> list[GroupedLayer]:
        """The layers with groups, each with the kernel that its grouping clusters."""
        return self.synthesis.grouped_layers()

    def grouped_layer(self, name: str) -> GroupedLayer:
        """The grouped layer of this name; KeyError when there is none."""
        return {layer.name: layer for layer in self.grouped_layers()}[name]

    @classmethod
    def config_from(cls, fields: dict[str, Any]) -> GeneratorConfig:
        """The configuration whose plain dictionary is `fields`; any exception when they make none."""
        return GeneratorConfig(**{**fields, "grouping": GroupingConfig(**fields["grouping"])})

    @classmethod
    def from_weights(cls, config: GeneratorConfig, weights: dict[str, Any], device: str | torch.device) -> "Generator":
        """A trained generator, frozen in evaluation mode, of the type of its weights.

        Any exception when they do not fit: to be called inside `files.reading.reading`.
        """
        dtype = floating_type(weights["mean_latent"])
        with torch.device("meta"):  # a configuration that is not that of the weights could ask for any amount of memory
            cls(config).load_state_dict(weights, assign=True)
        generator = cls(config).to(device, dtype)
        load_weights(generator, weights)
        return generator.eval().requires_grad_(False)

    def class_index(self, name: str) -> int:
        """The label of a class; InputError with the names there are."""
        names = self.config.class_names
        if not names:
            raise InputError(f"class {name!r}: this generator was trained without classes")
        if name not in names:
            raise InputError(f"class {name!r} does not exist; the generator's classes are {', '.join(names)}")
        return names.index(name)

    def draw_labels(self, count: int, seed: int) -> Tensor | None:
        """Labels [count] by the classes' shares of the training images, a function of the seed; None without classes."""
        if not self.config.class_names:
            return None
        return draw_labels(self.config.class_shares, count, seed).to(self.mean_latent.device)

    def grouping_parameters(self) -> list[nn.Parameter]:
        """Parameters of the groupings, which the grouping loss trains."""
        return [p for layer in self.grouped_layers() for p in layer.grouping.parameters()]

    def separate_parameters(self) -> list[nn.Parameter]:
        """Those of them that no adversarial or information gradient ever reaches."""
        reached = {id(p) for layer in self.grouped_layers() for p in layer.grouping.image_parameters()}
        return [p for p in self.grouping_parameters() if id(p) not in reached]

    def forward(
        self,
        z: Tensor,
        mixing: LatentMixing | None = None,
        noise: Noise = "random",
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        interventions: Sequence[Edit] = (),
        labels: Tensor | None = None,
    ) -> GeneratorOutput:
        """Generate. labels [N], int64, of a generator with classes (`class_index`, `draw_labels`).

        noise: `random` (PyTorch's global generator), `fixed` (the same for every call and sample), `none`, or one
        [N,1,H,W] a layer as listed by `synthesis.noise_shapes()`. truncation_psi pulls w towards its mean, in the first
        `truncation_cutoff` latents (None: in all). interventions edit codes of groups, one after the other.
        Raises InputError for a z of another shape and for an intervention in a layer or group that is not there.
        """
        if z.ndim != 2 or z.shape[1] != self.config.z_dim:
            raise InputError(f"z must have shape (N, {self.config.z_dim}), got {tuple(z.shape)}")
        latents = self.latents(z, mixing, labels)
        if truncation_psi != 1.0:
            latents = self.truncate(latents, truncation_psi, truncation_cutoff)
        return self.synthesize(latents, noise, interventions)

    def latents(self, z: Tensor, mixing: LatentMixing | None = None, labels: Tensor | None = None) -> Tensor:
        """z [N,z_dim] -> [N,L,w_dim]. Both latents of a mixing have the sample's label."""
        if mixing is None:
            return self.mapping(z, labels)[:, None].expand(-1, self.num_latents, -1)
        both = None if labels is None else torch.cat([labels, labels])
        w, second = self.mapping(torch.cat([z, mixing.second_z]), both).chunk(2)
        if mixing.kind == "halves":
            w = torch.cat([w[:, : self.config.style_dim], second[:, self.config.style_dim :]], dim=1)
            return w[:, None].expand(-1, self.num_latents, -1)
        before = torch.arange(self.num_latents, device=w.device) < mixing.crossover
        return torch.where(before[None, :, None], w[:, None], second[:, None])

    def truncation_centre(self, latents: Tensor) -> Tensor:
        """What truncation pulls latents [N,L,w_dim] towards; its shape broadcasts to theirs."""
        return self.mean_latent.to(latents.dtype)

    def truncate(self, latents: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
        """mean + psi (w - mean) in the first `cutoff` latents. latents [N,L,w_dim]."""
        truncated = torch.lerp(self.truncation_centre(latents).expand_as(latents), latents, psi)
        if cutoff is None:
            return truncated
        first = torch.arange(self.num_latents, device=latents.device) < cutoff
        return torch.where(first[None, :, None], truncated, latents)

    def synthesize(self, latents: Tensor, noise: Noise = "random", interventions: Sequence[Edit] = ()) -> GeneratorOutput:
        """latents [N,L,w_dim] -> GeneratorOutput."""
        if isinstance(noise, str):
            noise = self.draw_noise(latents, noise)
        output = self.synthesis(latents, noise, interventions)
        return GeneratorOutput(output.images, latents, output.codes)

    def draw_noise(self, latents: Tensor, kind: str) -> list[Tensor | None]:
        """Noise by name (see `forward`) for latents [N,L,w_dim]: one [N,1,H,W] a layer."""
        shapes = self.synthesis.noise_shapes()
        device, dtype, n = latents.device, latents.dtype, latents.shape[0]
        if kind == "none":
            return [None] * len(shapes)
        if kind == "random":
            return [torch.randn(n, 1, h, w, device=device, dtype=dtype) for h, w in shapes]
        if kind == "fixed":
            if self.config.stored_noise:
                maps = [self.get_buffer(f"noise_{index}").to(device, dtype) for index in range(len(shapes))]
            else:
                source = torch.Generator().manual_seed(0)
                maps = to_device([torch.randn(1, 1, h, w, generator=source) for h, w in shapes], device, dtype)
            return [noise.expand(n, -1, -1, -1) for noise in maps]
        raise InputError(f"noise must be random, fixed, none or a list of tensors, got {kind!r}")

    @torch.no_grad()
    def update_mean_latent(self, num_samples: int = 10_000, seed: int = 0) -> None:
        """Set `mean_latent` to the mean w of fixed-seed latents, over all classes by their shares."""
        source = torch.Generator().manual_seed(seed)
        z = torch.randn(num_samples, self.config.z_dim, generator=source)
        (z,) = to_device([z], self.mean_latent.device, self.mean_latent.dtype)
        labels = self.draw_labels(num_samples, derive_seed(seed, "label"))
        parts = [None] * len(z.split(1000)) if labels is None else labels.split(1000)
        total = sum(self.mapping(part, label).sum(dim=0) for part, label in zip(z.split(1000), parts, strict=True))
        self.mean_latent.copy_(total / num_samples)
