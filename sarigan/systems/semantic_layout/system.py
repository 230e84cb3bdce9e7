"""Semantic image synthesis: GauGAN with its options, and OASIS's 3D noise (docs/layouts.md)."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sarigan.data.batch import Batch, to_signed_float
from sarigan.data.layouts.config import LayoutDataConfig
from sarigan.errors import InputError, require_at_least_1
from sarigan.layers.modulation.spade import StatisticsEstimate
from sarigan.layers.spectral_norm import spectral_modules, update_spectral_norms
from sarigan.models.ema import ExponentialMovingAverage
from sarigan.seeding import derive_seed
from sarigan.systems.semantic_layout.discriminator import LayoutDiscriminator, PatchDiscriminatorConfig
from sarigan.systems.semantic_layout.draws import StyleNoiseSource
from sarigan.systems.semantic_layout.generator import LayoutGenerator, LayoutGeneratorConfig
from sarigan.systems.semantic_layout.layout import LayoutChannels
from sarigan.systems.semantic_layout.objective import LayoutObjective, LayoutObjectiveConfig
from sarigan.systems.semantic_layout.optimizer import LayoutOptimizerConfig
from sarigan.systems.semantic_layout.synthesis import (
    HeldOutLayouts,
    HeldOutLayoutsConfig,
    SynthesizedImages,
    draw_styles,
    layouts_of,
)
from sarigan.systems.system import Curves, Phase, System, count_parameters
from sarigan.training.batch_plan import BatchPlan
from sarigan.training.precision import Precision
from sarigan.training.run_config import RunConfig
from sarigan.visualization.layout_sheet import layout_images

TINY_SIZE = 8
AVERAGE_ITERATIONS = 10  # of the singular vectors of averaged kernels, from those of the trained ones


@dataclass(frozen=True)
class SemanticLayoutConfig(RunConfig):
    """Everything that defines a run of a generator of images from layouts."""

    ARCHITECTURE: ClassVar[tuple[str, ...]] = (
        "generator", "discriminator", "data.num_classes", "data.void", "data.instances",
    )  # fmt: skip

    system: str = "semantic_layout"
    data: LayoutDataConfig = field(default_factory=LayoutDataConfig)
    generator: LayoutGeneratorConfig = field(default_factory=LayoutGeneratorConfig)
    discriminator: PatchDiscriminatorConfig = field(default_factory=PatchDiscriminatorConfig)
    objective: LayoutObjectiveConfig = field(default_factory=LayoutObjectiveConfig)
    optimizer: LayoutOptimizerConfig = field(default_factory=LayoutOptimizerConfig)
    held_out: HeldOutLayoutsConfig = field(default_factory=HeldOutLayoutsConfig)
    statistics_images: int = 64  # training samples from which the batch statistics of the averaged generator are measured

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least_1(self, "statistics_images")
        if self.data.height not in (None, self.generator.height):
            raise InputError(f"data.height must be null or generator.height={self.generator.height}, got {self.data.height}")
        object.__setattr__(self, "data", dataclasses.replace(self.data, height=self.generator.height))

    @property
    def resolution(self) -> int:
        return self.generator.resolution

    @property
    def image_size(self) -> tuple[int, int]:
        return self.generator.size

    @property
    def shard_multiple(self) -> int:
        """With batch norm, the whole batch: a pass is normalised by its own statistics."""
        return self.training.batch_size if self.generator.norm in ("batch", "synchronised") else 1

    def batch_warning(self, plan: BatchPlan) -> str | None:
        """None where ranks alone cut the batch and put their statistics together."""
        return None if self.generator.norm == "synchronised" and plan.num_rounds == 1 else super().batch_warning(plan)

    @property
    def channels(self) -> LayoutChannels:
        """What networks see of a layout."""
        return LayoutChannels(self.data.num_classes + (self.data.void is not None), self.data.instances)

    def build(self, precision: Precision) -> "SemanticLayoutSystem":
        return SemanticLayoutSystem(self, precision)

    def tiny(self) -> "SemanticLayoutConfig":
        sizes: dict[str, Any] = {
            "resolution": TINY_SIZE, "height": None, "channels": 2, "num_upsamples": 2, "spade_hidden": 4,
            "style_dim": 4, "encoder_size": TINY_SIZE,
        }  # fmt: skip
        return dataclasses.replace(
            self,
            data=dataclasses.replace(self.data, height=None),
            generator=dataclasses.replace(self.generator, **sizes),
            discriminator=dataclasses.replace(self.discriminator, channels=2),
            held_out=HeldOutLayoutsConfig(),
        )

    def method(self) -> str:
        style = {"none": "no style", "encoder": "style of an image encoder", "noise": "3D noise"}[self.generator.style]
        return f"SPADE, {self.generator.norm} norm, {style}"


class SemanticLayoutSystem(System):
    """Generator with its encoder, multi-scale discriminator, and the averaged generator with statistics of its own."""

    def __init__(self, config: SemanticLayoutConfig, precision: Precision) -> None:
        self.config, self.resolution, self.precision = config, config.resolution, precision
        self.channels = config.channels
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(config.training.seed, "weights"))
            generator = LayoutGenerator(config.generator, self.channels.count)
            discriminator = LayoutDiscriminator(config.discriminator, self.channels.count)
        self.generator = precision.place(generator)
        self.discriminator = precision.place(discriminator)
        self.average = ExponentialMovingAverage(self.generator)
        self.networks = {"generator": self.generator, "discriminator": self.discriminator}
        self.replicas = dict(self.networks)
        self.averages = {"ema_generator": self.average}
        self.tensors = {}
        self.objective = LayoutObjective(
            config.objective, self.channels, self.networks, self.replicas, precision.autocast_dtype
        )
        draws = StyleNoiseSource(config.training.seed, config.generator.style_dim, precision.device, precision.parameter_dtype)
        self.optimizers = {
            "generator_optimizer": config.optimizer.adam(self.generator, config.optimizer.generator_learning_rate),
            "discriminator_optimizer": config.optimizer.adam(
                self.discriminator, config.optimizer.discriminator_learning_rate
            ),
        }  # fmt: skip
        self.rates = {name: optimizer.param_groups[0]["lr"] for name, optimizer in self.optimizers.items()}
        batch_size = config.training.batch_size
        # As in the release, G goes first.
        self.phases = [
            Phase(name, loss, name, list(self.networks[name].parameters()), self.optimizers[f"{name}_optimizer"],
                  batch_size=batch_size, draw=draws.draw, needs_real_images=True)
            for name, loss in (
                ("generator", self.objective.generator_phase), ("discriminator", self.objective.discriminator_phase),
            )
        ]  # fmt: skip
        self._average_is_stale = True

    def example_batch(self, num_images: int, device: torch.device, dtype: torch.dtype) -> Batch:
        """Grey images whose layouts are of one class."""
        size = self.config.generator.size
        images = torch.zeros(num_images, 3, *size, device=device, dtype=dtype)
        layout = torch.zeros(num_images, *size, device=device, dtype=torch.int64)
        edges = torch.zeros(num_images, *size, device=device, dtype=torch.uint8) if self.channels.has_edges else None
        return Batch(images, layout=layout, edges=edges)

    def begin_step(self, seen_kimg: float) -> None:
        """One power iteration of every spectral norm; the learning rates of the step."""
        for network in self.networks.values():
            update_spectral_norms(network)
        factor = self.config.optimizer.decay(seen_kimg)
        for name, rate in self.rates.items():
            self.optimizers[name].param_groups[0]["lr"] = rate * factor
        self._average_is_stale = True

    def prepare_to_save(self) -> None:
        self.refresh_average()

    def load_state_dict(self, state: dict[str, Any], source: str) -> None:
        super().load_state_dict(state, source)
        self._average_is_stale = False  # it was refreshed when the checkpoint was written

    @torch.no_grad()
    def refresh_average(self) -> None:
        """Give the averaged generator singular vectors and batch statistics of its own weights. Nothing where it has them.

        Both are functions of the networks alone, so it does not matter when or how often this is called.
        """
        if not self._average_is_stale:
            return
        average = self.average.module
        for (mine, _), (trained, _) in zip(spectral_modules(average), spectral_modules(self.generator), strict=True):
            mine.load_state_dict(trained.state_dict())
        update_spectral_norms(average, AVERAGE_ITERATIONS)
        estimate = StatisticsEstimate(average)
        if estimate.norms:
            with estimate:
                for batch, z in self._statistics_inputs():
                    average(self.channels.of(batch), z, batch.images)
        self._average_is_stale = False

    def _statistics_inputs(self) -> Iterator[tuple[Batch, Tensor]]:
        """Training samples from all over the set, in batches as in training, each with its z: styles are encoded there, too."""
        dataset, batch_size = self._training_layouts, self.config.training.batch_size
        count = min(self.config.statistics_images, len(dataset))
        indices = [index * len(dataset) // count for index in range(count)]
        for start in range(0, count, batch_size):
            part = indices[start : start + batch_size]
            z = draw_styles(self.average.module, [derive_seed("statistics", index) for index in part])
            yield layouts_of(dataset, part).to_device(z.device, z.dtype, self.precision.layout), z

    @functools.cached_property
    def _training_layouts(self) -> Any:
        return self.config.data.open(self.config.resolution)

    @functools.cached_property
    def synthesized(self) -> SynthesizedImages:
        """Of the held-out layouts by the averaged generator. InputError when the layouts cannot be read."""
        held_out = HeldOutLayouts(self.config.data, self.config.held_out, self.config.resolution)
        objective = self.config.objective
        network = objective.perceptual_network if objective.perceptual_weight else None
        return SynthesizedImages(
            self.average.module, self.channels, held_out, self.refresh_average, training_network=network
        )  # fmt: skip

    def sample_images(self, num_images: int, batch_size: int) -> Iterator[Tensor]:
        """For each held-out layout four images: itself in colours, two styles, and the image that it is of."""
        made = self.synthesized
        indices = range(min(max(1, num_images // 4), len(made)))
        for start in range(0, len(indices), batch_size):
            part = indices[start : start + batch_size]
            batch = made.held_out.batch(part)
            assert batch.layout is not None
            first, second = (made.make(batch, made.styles(part, seed)).cpu() for seed in (0, 1))
            shown = [layout_images(batch.layout).to(first.dtype), first, second, to_signed_float(batch.images, first.dtype)]
            yield torch.stack(shown, dim=1).flatten(0, 1)

    def describe(self) -> list[tuple[str, int, str]]:
        generator = self.generator
        height, width = self.config.generator.size
        rows: list[tuple[str, nn.Module, str]] = [
            ("generator", generator, f"{width}x{height} px, {self.channels.count} channels of a layout")
        ]
        if hasattr(generator, "encoder"):
            rows.append(("  encoder", generator.encoder, f"image -> style {self.config.generator.style_dim}"))
        scales = f"{self.config.discriminator.num_scales} scales, layout and image"
        rows.append(("discriminator", self.discriminator, scales))
        return [(name, count_parameters(module), text) for name, module, text in rows]

    def generated_images(self, num_images: int, batch_size: int) -> Iterator[Tensor]:
        """One image for each of the first held-out layouts."""
        made = self.synthesized
        indices = range(min(num_images, len(made)))
        yield from made.batches(
            [indices[start : start + batch_size] for start in range(0, len(indices), batch_size)], torch.device("cpu")
        )

    def evaluation_inputs(self) -> dict[str, Any]:
        return {"samples": self.synthesized}

    def report_sections(self) -> list[Callable[[], Any]]:
        from sarigan.systems.semantic_layout.report import sections  # seconds of imports that training does without

        return sections(self.synthesized)

    def report_curves(self) -> list[Curves]:
        return [
            Curves("Hinge losses", {"discriminator": "loss/discriminator", "generator": "loss/generator"}),
            Curves("Mean logits of D", {"real": "logits/real", "generated": "logits/fake"}),
            Curves("Feature matching", {"mean over scales": "loss/feature_matching"}),
            Curves("Perceptual loss", {self.config.objective.perceptual_network: "loss/perceptual"}),
            Curves("KL of the encoded style (nats)", {"mean over images": "loss/kl"}),
            Curves("Mean IoU of a segmenter", {"generated": "metrics/layout_miou", "relative": "metrics/layout_miou_relative"}),
        ]
