"""BigGAN's generator (Brock et al. 2019, appendix B): every layer normalises its input by class and latent.

One w = [class code, z] a layer: `Generator` calls it a latent, and mixes, edits and truncates it as those of other generators.
The class code is a shared embedding e(y), or the one-hot label where each layer has a table of its own. A hierarchical z is
cut into L = blocks + 1 chunks: the first makes the 4x4 features, chunk l enters block l beside the class code.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sarigan.device import to_device
from sarigan.errors import InputError, require_at_least_1, require_at_most, require_one_of
from sarigan.layers.grouping import GroupingConfig
from sarigan.layers.intervention import Edit
from sarigan.layers.modulation.class_conditional_norm import batch_norms, collecting
from sarigan.layers.self_attention import check_attention
from sarigan.layers.spectral_norm import INITIALIZATIONS, initialize_weights
from sarigan.models.class_conditional_synthesis import ClassConditionalSynthesis
from sarigan.models.generator import Generator, GeneratorOutput, Noise
from sarigan.models.mapping import check_classes, draw_labels
from sarigan.seeding import derive_seed

# Of the 4x4 input and of every block's output, times `channels` (BigGAN-PyTorch's widths of 32, 64 and 128 px).
MULTIPLIERS = {32: [4, 4, 4, 4], 64: [16, 16, 8, 4, 2], 128: [16, 16, 8, 4, 2, 1]}


@dataclass(frozen=True)
class ClassConditionalGeneratorConfig:
    """Defaults are BigGAN at 128 px."""

    resolution: int = 128
    z_dim: int = 120
    channels: int = 96
    multipliers: list[int] = field(default_factory=list)  # of the input and of every block; empty: those of BigGAN
    class_dim: int = 128  # of the shared embedding of a class; 0: each layer has a table of gains and biases
    hierarchical: bool = True  # z in chunks, one a block; needs class_dim > 0
    attention_resolution: int = 64  # after the block of this resolution; 0: none
    initialization: str = "orthogonal"  # orthogonal | normal
    # Statistics at test: the mean over so many batches of the averaged generator in training mode. 0: the average of the
    # running statistics of training.
    standing_batches: int = 16
    standing_batch_size: int = 64
    # Filled in from data.labels when a run starts, as for other generators
    class_names: list[str] = field(default_factory=list)
    class_shares: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        require_at_least_1(self, "z_dim", "channels", "standing_batch_size", prefix="generator.")
        require_at_most(
            "generator", self, z_dim=16_384, channels=4096, class_dim=16_384, standing_batches=10_000,
            standing_batch_size=1 << 20,
        )  # fmt: skip
        require_one_of(self, "generator.", initialization=INITIALIZATIONS)
        for name in ("class_dim", "standing_batches"):
            if getattr(self, name) < 0:
                raise InputError(f"generator.{name} must be at least 0, got {getattr(self, name)}")
        check_blocks("generator", self.resolution, self.multipliers, self.num_blocks + 1)
        check_attention("generator", self.attention_resolution, [8 << index for index in range(self.num_blocks)])
        if self.hierarchical and not self.class_dim:
            raise InputError("generator.hierarchical needs a shared embedding, got generator.class_dim=0")
        if self.hierarchical and self.z_dim % (self.num_blocks + 1):
            raise InputError(
                f"generator.z_dim must be a multiple of {self.num_blocks + 1} at {self.resolution} px, one chunk for the 4x4"
                f" features and one a block, got {self.z_dim}"
            )
        check_classes(self.class_names, self.class_shares)

    @property
    def num_blocks(self) -> int:
        """log2 R - 2: one a doubling from 4x4."""
        return self.resolution.bit_length() - 3

    @property
    def widths(self) -> list[int]:
        """Channels of the 4x4 input and of every block's output."""
        return [self.channels * multiplier for multiplier in self.multipliers or MULTIPLIERS[self.resolution]]

    @property
    def code_classes(self) -> int:
        """The dimension of the class code: of e(y), or of the one-hot label."""
        return self.class_dim or len(self.class_names)

    @property
    def w_dim(self) -> int:
        """[class code, z]."""
        return self.code_classes + self.z_dim

    @property
    def chunk_dim(self) -> int:
        """Of z in every layer; a z that is not hierarchical enters the first alone."""
        return self.z_dim // (self.num_blocks + 1) if self.hierarchical else 0

    @property
    def grouping(self) -> GroupingConfig:
        """No channels are grouped."""
        return GroupingConfig(kind="none")

    @property
    def stored_noise(self) -> bool:
        """There is no noise."""
        return False


def check_blocks(section: str, resolution: int, multipliers: Sequence[int], length: int) -> None:
    """InputError naming the field when the resolution or the multipliers make no network."""
    if resolution < 8 or resolution & (resolution - 1) or resolution > 1024:
        raise InputError(f"{section}.resolution must be a power of two from 8 to 1024, got {resolution}")
    if not multipliers and resolution not in MULTIPLIERS:
        known = ", ".join(map(str, MULTIPLIERS))
        raise InputError(f"{section}.multipliers must be given at {resolution} px; those of {known} px are known")
    if multipliers and (len(multipliers) != length or not all(1 <= value <= 1024 for value in multipliers)):
        raise InputError(f"{section}.multipliers must be {length} numbers from 1 to 1024, got {list(multipliers)}")


class ClassMapping(nn.Module):
    """z [N,z_dim], labels [N] -> w = [class code, z] [N,w_dim]. dim 0: the class code is the one-hot label."""

    def __init__(self, num_classes: int, dim: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.embedding = nn.Embedding(num_classes, dim) if dim else None

    def codes(self, labels: Tensor, dtype: torch.dtype) -> Tensor:
        """labels [N] -> class codes [N,D]."""
        if self.embedding is not None:
            return self.embedding(labels)
        return F.one_hot(labels, self.num_classes).to(dtype)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """InputError without labels."""
        if labels is None:
            raise InputError("this network has classes: it needs labels")
        return torch.cat([self.codes(labels, z.dtype), z], dim=1)


class ClassConditionalGenerator(Generator):
    """z [N,z_dim], labels [N] -> GeneratorOutput; `codes` has gains and biases of every layer.

    In evaluation mode the batch statistics are those that `refresh` stored. It is called by the first image after
    `is_stale` was set, as the moving average does whenever the weights change.
    """

    KIND: ClassVar[str] = "class_conditional"

    config: ClassConditionalGeneratorConfig  # type: ignore[assignment]
    mapping: ClassMapping  # type: ignore[assignment]
    synthesis: ClassConditionalSynthesis  # type: ignore[assignment]

    def __init__(self, config: ClassConditionalGeneratorConfig) -> None:
        super().__init__(config)  # type: ignore[arg-type]
        initialize_weights(self, config.initialization)
        self.is_stale = False

    @classmethod
    def config_from(cls, fields: dict[str, Any]) -> ClassConditionalGeneratorConfig:  # type: ignore[override]
        """The configuration whose plain dictionary is `fields`; any exception when they make none."""
        return ClassConditionalGeneratorConfig(**fields)

    def load_state_dict(self, *arguments: Any, **options: Any) -> Any:
        """As PyTorch's; statistics are among the weights."""
        found = super().load_state_dict(*arguments, **options)
        self.is_stale = False
        return found

    def synthesize(self, latents: Tensor, noise: Noise = "random", interventions: Sequence[Edit] = ()) -> GeneratorOutput:
        """latents [N,L,w_dim] -> GeneratorOutput. There is no noise."""
        if self.is_stale and not self.training:
            self.refresh()
        return super().synthesize(latents, noise, interventions)

    def refresh(self) -> None:
        """Set what follows from the weights: the statistics of evaluation mode and the centre of truncation."""
        self.set_test_statistics()
        self.update_mean_latent()
        self.is_stale = False

    def build_networks(self) -> tuple[ClassMapping, ClassConditionalSynthesis]:  # type: ignore[override]
        """Mapping and synthesis of the configuration."""
        config = self.config
        synthesis = ClassConditionalSynthesis(
            config.widths, config.code_classes, config.z_dim, config.chunk_dim, spectral_codes=config.class_dim > 0,
            attention_resolution=config.attention_resolution,
        )  # fmt: skip
        return ClassMapping(len(config.class_names), config.class_dim), synthesis

    def truncation_centre(self, latents: Tensor) -> Tensor:
        """The class code itself, and z = 0: truncation scales z and keeps the class."""
        classes = latents[..., : self.config.code_classes]
        return torch.cat([classes, latents.new_zeros(*latents.shape[:-1], self.config.z_dim)], dim=-1)

    @torch.no_grad()
    def update_mean_latent(self, num_samples: int = 0, seed: int = 0) -> None:
        """Set `mean_latent` to the mean w: the class codes weighted by their shares, and z = 0."""
        self.mean_latent.zero_()
        if self.config.class_names:
            labels = torch.arange(len(self.config.class_names), device=self.mean_latent.device)
            codes = self.mapping.codes(labels, self.mean_latent.dtype)
            shares = torch.tensor(self.config.class_shares).to(codes)
            self.mean_latent[: self.config.code_classes] = shares @ codes

    @torch.no_grad()
    def set_test_statistics(self, seed: int = 0) -> None:
        """Fill the statistics that evaluation mode uses: standing ones, or the running ones (`standing_batches` 0).

        Standing statistics (Brock et al. 2019, sec. 3 and appendix B): means and variances of batches in training mode,
        averaged; z and labels are functions of the seed. Nothing else of the generator changes.
        """
        config = self.config
        if not config.standing_batches or not config.class_names:
            for norm in batch_norms(self):
                norm.test_mean.copy_(norm.running_mean)
                norm.test_var.copy_(norm.running_var)
            return
        with collecting(self) as norms:
            for batch in range(config.standing_batches):
                source = torch.Generator().manual_seed(derive_seed(seed, "standing statistics", batch))
                z = torch.randn(config.standing_batch_size, config.z_dim, generator=source)
                (z,) = to_device([z], self.mean_latent.device, self.mean_latent.dtype)
                labels = draw_labels(config.class_shares, len(z), derive_seed(seed, "standing labels", batch))
                self(z, labels=labels.to(z.device))
            for norm in norms:
                assert norm.collected is not None
                for index, kept in enumerate((norm.test_mean, norm.test_var)):
                    kept.copy_(torch.stack([pair[index] for pair in norm.collected]).mean(dim=0))
