"""Several models on the same held-out images with the same masks: errors, distances with their floors, intervals.

A completion is rounded to 8 bits before anything is measured. Distances of feature distributions are taken between the
completions and the originals of the same images: of whole images, and of windows of half the side around the holes, which
hold less of what is known. Their floor is the distance of as many training photographs, cut at the same windows, to the
originals: what other real images score. Distances of few images are biased; they compare models of one protocol only.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sarigan.data.batch import to_signed_float
from sarigan.data.loader import ImageDataset
from sarigan.files.paths import replace_text
from sarigan.metrics.completion_errors import ERRORS, paired_difference
from sarigan.metrics.discriminative_score import discriminative_scores
from sarigan.metrics.feature_statistics import DatasetImages, FeatureRequest, FeatureStatistics, collect
from sarigan.metrics.frechet import frechet_distance
from sarigan.metrics.kid import kernel_distance
from sarigan.models.feature_networks.feature_network import FeatureNetwork, metric_name, preprocessing_named, to_uint8
from sarigan.models.feature_networks.perceptual import PerceptualDistance
from sarigan.systems.inpainting.completion import Completions, MaskedImages
from sarigan.systems.inpainting.windows import hole_windows

PREPROCESSING = "tf"


class StoredImages:
    """uint8 [N,3,h,w] in memory: an `ImageSet`."""

    def __init__(self, title: str, images: Tensor) -> None:
        self.title, self.images, self.resolution = title, images, images.shape[3]

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, positions: Sequence[Sequence[int]], device: torch.device) -> Any:
        """Images of the positions on the device."""
        for batch in positions:
            yield self.images[list(batch)].to(device)


@dataclass
class Comparison:
    """What was measured. `scores` of a model hold the mean of every error and every distance, by name."""

    protocol: str
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    floors: dict[str, float] = field(default_factory=dict)  # of distances
    errors: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)  # model -> error -> [N]

    @cached_property
    def differences(self) -> dict[str, dict[str, tuple[float, float, float]]]:
        """Of every further model: error -> mean of (model - first model), and its 95% interval."""
        first, *others = self.errors
        return {
            other: {name: paired_difference(self.errors[other][name], self.errors[first][name]) for name in self.errors[first]}
            for other in others
        }

    def table(self) -> str:
        """For a person."""
        models = list(self.scores)
        width = max(len(name) for name in self.scores[models[0]]) + 2
        columns = [max(10, len(model)) + 2 for model in models]
        head = f"{'':{width}}" + "".join(f"{model:>{column}}" for model, column in zip(models, columns, strict=True))
        lines = [self.protocol, "", f"{head}{'floor':>12}"]
        for name in self.scores[models[0]]:
            values = "".join(f"{self.scores[model][name]:>{c}.5g}" for model, c in zip(models, columns, strict=True))
            lines.append(f"{name:{width}}{values}" + (f"{self.floors[name]:>12.5g}" if name in self.floors else ""))
        for model, differences in self.differences.items():
            lines += ["", f"{model} minus {models[0]}: mean over images, 95% interval of the paired bootstrap"]
            lines += [f"{n:{width}}{mean:+.5g}  [{low:+.5g}, {high:+.5g}]" for n, (mean, low, high) in differences.items()]
        return "\n".join(lines)

    def write(self, path: Path) -> None:
        """Everything as JSON, with the errors of every image."""
        errors = {model: {name: values.tolist() for name, values in named.items()} for model, named in self.errors.items()}
        held = {"protocol": self.protocol, "scores": self.scores, "floors": self.floors, "differences": self.differences}
        replace_text(path, json.dumps({**held, "errors_of_images": errors}, indent=1) + "\n")


class Judge:
    """Measures completions of the first `count` held-out images; `ids`: with P-IDS and U-IDS of whole images."""

    def __init__(
        self, masked: MaskedImages, count: int, networks: Mapping[str, FeatureNetwork], distance: PerceptualDistance,
        device: torch.device, batch_size: int, ids: bool = False,
    ) -> None:  # fmt: skip
        self.networks, self.distance, self.device, self.batch_size, self.ids = networks, distance, device, batch_size, ids
        self.batches = [range(start, min(start + batch_size, count)) for start in range(0, count, batch_size)]
        self.originals = torch.from_numpy(np.stack([masked.images[index] for index in range(count)]))
        self.known = torch.from_numpy(np.stack([masked.mask(index) for index in range(count)]))
        self.real = self._statistics(self.originals, "originals")

    def completed(self, completions: Completions) -> Tensor:
        """The completions as they would be stored: uint8 [N,3,R,R]."""
        return torch.cat([to_uint8(completions.complete(batch)[2]).cpu() for batch in self.batches])

    def errors(self, completed: Tensor) -> dict[str, np.ndarray]:
        """Every error of every image, by name: [N]."""
        found: dict[str, list[Tensor]] = {name: [] for name in (*ERRORS, self.distance.name)}
        for batch in self.batches:
            a, b, known = (x[batch.start : batch.stop].to(self.device) for x in (completed, self.originals, self.known))
            for name, function in ERRORS.items():
                found[name].append(function(a, b, known))
            with torch.no_grad():
                found[self.distance.name].append(self.distance(to_signed_float(a), to_signed_float(b)))
        return {name: torch.cat(parts).cpu().double().numpy() for name, parts in found.items()}

    def distances(self, images: Tensor, title: str, paired: bool = True) -> dict[str, float]:
        """Frechet and kernel distance of images uint8 [N,3,R,R] and of their windows to those of the originals.

        paired: image n is a completion of original n, so that P-IDS and U-IDS have a meaning where they are asked for.
        """
        found, statistics = {}, self._statistics(images, title)
        for (part, network), real in self.real.items():
            of = statistics[part, network]
            assert of.features is not None and real.features is not None
            found[metric_name("fid", self.networks[network]) + part] = frechet_distance(of.moments, real.moments)
            found[metric_name("kid", self.networks[network]) + part] = kernel_distance(of.features, real.features)[0]
            if self.ids and paired and not part:
                p_ids, u_ids = discriminative_scores(real.features.double().cpu().numpy(), of.features.double().cpu().numpy())
                found[metric_name("p_ids", self.networks[network])] = p_ids
                found[metric_name("u_ids", self.networks[network])] = u_ids
        return found

    def floors(self, training: ImageDataset) -> dict[str, float]:
        """The distances of as many training images, at most all of them, with the windows of the same masks."""
        chosen = DatasetImages(training, len(self.originals))
        images = torch.from_numpy(np.stack([chosen.image(index) for index in chosen.indices]))
        return self.distances(images, "training images", paired=False)

    def _statistics(self, images: Tensor, title: str) -> dict[tuple[str, str], FeatureStatistics]:
        found: dict[tuple[str, str], FeatureStatistics] = {}
        for part, tensor in (("", images), ("_hole", hole_windows(images, self.known[: len(images)]))):
            requests = {network: FeatureRequest(name, keep_features=True) for name, network in self.networks.items()}
            stored, preprocessing = StoredImages(title, tensor), preprocessing_named(PREPROCESSING)
            collected = collect(stored, requests, preprocessing, self.batch_size, self.device)
            found |= {(part, name): collected[network] for name, network in self.networks.items()}
        return found
