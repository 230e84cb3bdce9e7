"""The model that all sessions edit: its generator, and what about it costs time and is the same for every picture."""

import threading
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from sarigan.analysis.part_iou import PartLabel, PartMasks, best_parts, layer_features, layer_part_iou, masks_of
from sarigan.editing.factorization import factorized_directions, latent_deviation, style_matrix
from sarigan.editing.group_editing import RANGES, latent_range, principal_directions
from sarigan.editing.rendering import Sampling, render
from sarigan.errors import InputError
from sarigan.exporting.source import find_source
from sarigan.files.paths import kind_of
from sarigan.models.feature_networks.perceptual import PerceptualDistance, open_perceptual_distance
from sarigan.models.generator import Generator
from sarigan.pretrained import data_name, load_generator_and_record

NUM_LABEL_IMAGES, NUM_LABEL_PERMUTATIONS = 32, 100


@dataclass(frozen=True, eq=False)
class Loaded:
    """What one reading of the file gave. Equal to itself alone, so that what is remembered belongs to these weights."""

    generator: Generator
    file: Path
    is_of_avatars: bool
    labels: dict[str, dict[int, PartLabel]] = field(default_factory=dict)  # of the layers that were asked for


class EditedModel:
    """The generator of a source (as `find_source` takes it). Sessions share it; only `reload` changes it.

    InputError when there is none to read.
    """

    def __init__(self, source: str, device: str | torch.device = "cpu") -> None:
        self.source, self.device = source, torch.device(device)
        self._lock = threading.Lock()
        self.loaded = self._load()

    def _load(self) -> Loaded:
        file = find_source(self.source)
        generator, record = load_generator_and_record(file, self.device)
        return Loaded(generator, file, data_name(record) == "avatars")

    @property
    def name(self) -> str:
        """For people that need not know the folders of this machine."""
        return Path(self.source).name

    @property
    def generator(self) -> Generator:
        """In evaluation mode, frozen."""
        return self.loaded.generator

    @property
    def is_run(self) -> bool:
        """Whether the source is the directory of a run, which may have a newer checkpoint."""
        return kind_of(Path(self.source)) == "folder" and self.loaded.file.parent.name == "checkpoints"

    def reload(self) -> bool:
        """Read the newest checkpoint; whether it is another one than before."""
        before = self.loaded.file
        self.loaded = self._load()
        for remembered in (_group_directions, _directions, _part_examples):
            remembered.cache_clear()
        return self.loaded.file != before

    def layers(self) -> list[str]:
        """Grouped layers; without groups, those whose channels can be edited. Empty for StyleGAN."""
        synthesis = self.generator.synthesis
        return list(synthesis.num_groups() or synthesis.num_channels())

    def first_layer(self) -> str | None:
        """What the page shows first: the middle of `layers`, where edits are neither of the whole picture nor of its grain."""
        layers = self.layers()
        return layers[len(layers) // 2] if layers else None

    def first_group(self, layer: str | None) -> int:
        """The first group of a layer that holds channels; 0 where there is none."""
        if layer not in self.generator.synthesis.num_groups():
            return 0
        return min(self.generator.grouped_layer(layer).occupied(), default=0)

    @property
    def has_groups(self) -> bool:
        """Whether any layer has groups."""
        return bool(self.generator.synthesis.num_groups())

    @property
    def has_directions(self) -> bool:
        """Whether directions of w are known in closed form: of StyleGAN2 and SariGAN."""
        try:
            style_matrix(self.generator)
        except InputError:
            return False
        return True

    @property
    def has_channel_use(self) -> bool:
        """Whether how much a picture uses a channel is known in closed form: with class-conditional norms."""
        return not self.has_directions and bool(self.layers())

    @property
    def has_noise(self) -> bool:
        """Whether any layer adds noise."""
        return bool(self.generator.synthesis.noise_shapes())

    @property
    def class_names(self) -> list[str]:
        """Empty for a model without classes."""
        return self.generator.config.class_names

    def ranges(self) -> list[str]:
        """The names of `latent_range` that this resolution has."""

        def exists(name: str) -> bool:
            try:
                return bool(latent_range(self.generator, name))
            except InputError:
                return False

        return [*filter(exists, RANGES)]

    def description(self) -> str:
        """One line for the head of the page."""
        config, groups = self.generator.config, self.generator.synthesis.num_groups()
        parts = [f"{config.resolution} px"]
        if groups:
            smallest, largest = min(groups.values()), max(groups.values())
            parts.append(f"{largest if smallest == largest else f'{smallest} to {largest}'} groups a layer")
        elif self.has_directions:
            parts.append("no groups, so channels, directions and styles can be edited")
        elif self.layers():
            parts.append("class-conditional norms, so classes, channels and styles can be edited")
        else:
            parts.append("StyleGAN, so only styles can be mixed")
        if config.class_names:
            parts.append(f"{len(config.class_names)} classes")
        return ", ".join(parts)

    def group_directions(self, layer: str, group: int) -> tuple[Tensor, Tensor]:
        """`principal_directions` of z_i: [K,n_i], one standard deviation long, and their shares of the variance [K]."""
        return _group_directions(self.loaded, layer, group)

    def directions(self, layers: tuple[str, ...] | None) -> Tensor:
        """`factorized_directions` of w [D,D] for these layers (None: all), one standard deviation of w long."""
        return _directions(self.loaded, layers)

    @property
    def can_label(self) -> bool:
        """Whether there is a segmenter of what the model shows: for avatars there is."""
        return self.loaded.is_of_avatars

    def known_labels(self, layer: str) -> dict[int, PartLabel] | None:
        """`labels` of a layer that were made before; None where they were not."""
        return self.loaded.labels.get(layer)

    def labels(self, layer: str) -> dict[int, PartLabel]:
        """The part that each group of a layer matches best, as `best_parts` says it. The first call takes seconds."""
        loaded = self.loaded
        with self._lock:
            if layer not in loaded.labels:
                loaded.labels[layer] = _labels(loaded, layer)
            return loaded.labels[layer]

    def distance(self) -> PerceptualDistance:
        """What a projection compares images by."""
        with self._lock:
            return _distance(self.device)


@cache
def _group_directions(loaded: Loaded, layer: str, group: int) -> tuple[Tensor, Tensor]:
    return principal_directions(loaded.generator, layer, group)


@cache
@torch.no_grad()
def _directions(loaded: Loaded, layers: tuple[str, ...] | None) -> Tensor:
    directions, _ = factorized_directions(loaded.generator, layers)
    return directions * torch.tensor(latent_deviation(loaded.generator, directions)).to(directions)[:, None]


@cache
def _part_examples(loaded: Loaded) -> tuple[Tensor, PartMasks]:
    latents = Sampling().latents(loaded.generator, range(NUM_LABEL_IMAGES))
    return latents, masks_of("avatars", render(loaded.generator, latents, "fixed"))


def _labels(loaded: Loaded, layer: str) -> dict[int, PartLabel]:
    latents, masks = _part_examples(loaded)
    features = layer_features(loaded.generator, [layer], latents)[layer]
    return best_parts(layer_part_iou(loaded.generator, layer, features, masks, NUM_LABEL_PERMUTATIONS), masks.names)


@cache
def _distance(device: torch.device) -> PerceptualDistance:
    return open_perceptual_distance(device)
