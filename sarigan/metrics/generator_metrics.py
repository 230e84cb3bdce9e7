"""The metrics that look into a generator, rather than at its images alone, as an evaluation offers them.

Every one runs without truncation, whatever the other metrics of the evaluation do. docs/evaluation-semantics.md has protocols.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import TYPE_CHECKING, Any

from sarigan.errors import InputError
from sarigan.metrics.groups.premise import PremiseConfig, premise_test
from sarigan.metrics.groups.quality import energy_share, group_quality, grouped_layers
from sarigan.metrics.groups.stability import check_same_layers, group_stability
from sarigan.metrics.information import InformationConfig, information
from sarigan.metrics.linear_separability import SeparabilityConfig, attribute_names, linear_separability
from sarigan.metrics.metric import Metric, Result
from sarigan.metrics.perceptual_path_length import PathLengthConfig, perceptual_path_length
from sarigan.models.feature_networks.attribute_classifiers import classifier_hashes

if TYPE_CHECKING:
    from sarigan.metrics.evaluation import Evaluation

PATHS = ("z_full", "w_full", "z_end", "w_end")


class _GeneratorMetric(Metric):
    needs_data = False
    needs_generator = True


class PerceptualPathLength(_GeneratorMetric):
    """PPL along the paths asked for, in LPIPS or under the name of the distance there is."""

    name = "ppl"
    summary = "perceptual path length in z and w, full and end; LPIPS where its weights are, else under another name"

    def add_arguments(self, add: Callable[..., Any]) -> None:
        add("--ppl-paths", default=",".join(PATHS), help=f"of {', '.join(PATHS)}, with commas between; default all")
        add("--ppl-samples", type=int, help="pairs of images a path; default --num-images")
        add("--ppl-face-crop", action="store_true", help="compare the middle of the picture, as StyleGAN did for faces")

    def check(self, evaluation: "Evaluation") -> None:
        for path in self._paths(evaluation):
            self._config(evaluation, path)
        _ = evaluation.perceptual_distance

    def compute(self, evaluation: "Evaluation") -> Iterator[Result]:
        distance = evaluation.perceptual_distance
        for path in self._paths(evaluation):
            config = self._config(evaluation, path)
            advance = evaluation.progress(config.num_samples, f"path length, {path}")
            found = perceptual_path_length(evaluation.require_generator(), distance, config, advance)
            crop = ", middle of the picture" if config.face_crop else ""
            protocol = f"{distance.name} over epsilon^2 = 1e-8, {found.num_kept} of {found.num_samples} pairs kept{crop}"
            details = {"unfiltered": found.unfiltered}
            yield Result(found.name, found.value, protocol, found.standard_error, distance.name, distance.sha256, details)

    def _paths(self, evaluation: "Evaluation") -> list[str]:
        paths = [path for path in (evaluation.arguments.get("ppl_paths") or ",".join(PATHS)).split(",") if path]
        for path in paths:
            if path not in PATHS:
                raise InputError(f"--ppl-paths must be of {', '.join(PATHS)}, got {path!r}")
        return paths

    def _config(self, evaluation: "Evaluation", path: str) -> PathLengthConfig:
        space, sampling = path.split("_")
        count = evaluation.arguments.get("ppl_samples") or evaluation.config.num_images
        crop = bool(evaluation.arguments.get("ppl_face_crop"))
        batch = max(1, evaluation.config.batch_size // 2)
        return PathLengthConfig(space, sampling, count, face_crop=crop, batch_size=batch, seed=evaluation.config.seed)


class LinearSeparability(_GeneratorMetric):
    """exp sum H(Y|X) in z and in w, beside a held-out and a shuffled score."""

    name = "linear_separability"
    summary = "linear separability of z and w by attribute classifiers"

    def add_arguments(self, add: Callable[..., Any]) -> None:
        add("--attribute-classifiers", default="avatars", metavar="FILES", help="avatars (default), or .npz and .onnx files")
        add("--separability-images", type=int, help="images to classify; default as many as the protocol asks for")

    def check(self, evaluation: "Evaluation") -> None:
        generator = evaluation.require_generator()
        self._config(evaluation).check(max(generator.config.z_dim, generator.config.w_dim))
        sources = self._sources(evaluation)
        attribute_names([evaluation.classifier(source) for source in sources])
        classifier_hashes(sources)

    def compute(self, evaluation: "Evaluation") -> Sequence[Result]:
        config, sources = self._config(evaluation), self._sources(evaluation)
        classifiers = [evaluation.classifier(source) for source in sources]
        advance = evaluation.progress(config.num_images, "images to classify")
        spaces = linear_separability(evaluation.require_generator(), classifiers, config, advance)
        hashes = "+".join(classifier_hashes(sources).values())
        results = []
        for space, found in spaces.items():
            counts = f"{len(found.attributes)} attributes, {config.num_images} images, the most confident half kept"
            for kind, name in (("conditional", ""), ("held_out", "_held_out"), ("shuffled", "_shuffled")):
                results.append(
                    Result(
                        f"linear_separability_{space}{name}", found.score(kind), f"exp sum H(Y|X), {counts}",
                        network="+".join(map(str, sources)), network_sha256=hashes,
                        details=found.as_dict() if kind == "conditional" else {"per_attribute": found.per_attribute(kind)},
                    )
                )  # fmt: skip
        return results

    def _sources(self, evaluation: "Evaluation") -> list[str]:
        return (evaluation.arguments.get("attribute_classifiers") or "avatars").split(",")

    def _config(self, evaluation: "Evaluation") -> SeparabilityConfig:
        generator, config = evaluation.require_generator(), evaluation.config
        asked = evaluation.arguments.get("separability_images")
        needed = SeparabilityConfig().required_images(max(generator.config.z_dim, generator.config.w_dim))
        return SeparabilityConfig(asked or max(config.num_images, needed), batch_size=config.batch_size, seed=config.seed)


class CodeInformation(_GeneratorMetric):
    """Held-out R^2 of the Q head, for the halves of the codes."""

    name = "information"
    summary = "R^2 of the codes of fresh images by the Q head, h and z apart"

    def check(self, evaluation: "Evaluation") -> None:
        if evaluation.discriminator is None or evaluation.discriminator.recognition is None:
            raise InputError("information needs a checkpoint with a Q head; this one has none (objective.information_weight=0)")
        self._config(evaluation)

    def compute(self, evaluation: "Evaluation") -> Sequence[Result]:
        assert evaluation.discriminator is not None
        config = self._config(evaluation)
        advance = evaluation.progress(config.num_images, "information")
        generator, target = evaluation.require_generator(), evaluation.information_target
        found = information(generator, evaluation.discriminator, target, config, advance)
        protocol = f"mean of 1 - MSE/Var over dimensions of {target}, {found.num_images} images"
        return [
            Result(f"information_r2_{name}", half.r_squared, protocol, details=asdict(half), higher_is_better=True)
            for name, half in found.halves.items()
        ]

    def _config(self, evaluation: "Evaluation") -> InformationConfig:
        return InformationConfig(evaluation.config.num_images, evaluation.config.seed)


class GroupQuality(_GeneratorMetric):
    """Groups as clusters of kernels, against chance; whether kernels tell of activations; stability where there is a second."""

    name = "groups"
    summary = "quality of the semantic groups, each score against random groups of the same sizes"

    def add_arguments(self, add: Callable[..., Any]) -> None:
        add("--stability-checkpoint", metavar="FILE", help="an earlier or later checkpoint to compare the groups with")
        add("--premise-images", type=int, default=256, help="images whose activations are correlated (256)")

    def check(self, evaluation: "Evaluation") -> None:
        generator = evaluation.require_generator()
        grouped_layers(generator)
        self._premise(evaluation)
        if evaluation.other_generator is not None:
            check_same_layers(generator, evaluation.other_generator)

    def compute(self, evaluation: "Evaluation") -> Sequence[Result]:
        generator, seed = evaluation.require_generator(), evaluation.config.seed
        quality = group_quality(generator, seed=seed)
        energy = energy_share(generator, seed=seed)
        premise_config = self._premise(evaluation)
        advance = evaluation.progress(premise_config.num_images, "activations of groups")
        premise = premise_test(generator, premise_config, advance)
        over = f"mean over {len(quality)} layers"
        layers = {
            name: {**asdict(found), "energy": asdict(energy[name]), "premise": asdict(premise[name])}
            for name, found in quality.items()
        }
        layers = _without_nan(layers)
        results = [
            Result(
                "groups_separation", fmean(q.separation.value for q in quality.values()),
                f"cosine of kernels within groups minus between, {over}", details=layers, higher_is_better=True,
            ),
            Result(
                "groups_silhouette", fmean(q.silhouette.value for q in quality.values()), f"silhouette of kernels, {over}",
                higher_is_better=True,
            ),
            Result("groups_size_entropy", fmean(q.size_entropy for q in quality.values()), f"H(sizes) / log g, {over}"),
            Result(
                "groups_premise", fmean(p.value for p in premise.values()),
                f"Spearman of kernel similarity and activation correlation, {premise_config.num_images} images, {over}",
                higher_is_better=True,
            ),
        ]  # fmt: skip
        if evaluation.other_generator is not None:
            stability = group_stability(generator, evaluation.other_generator, seed=seed)
            details = _without_nan({name: asdict(found) for name, found in stability.items()})
            index = fmean(found.adjusted_rand_index for found in stability.values())
            protocol = f"adjusted Rand index with {evaluation.arguments.get('stability_checkpoint')}, {over}"
            results.append(Result("groups_stability", index, protocol, details=details, higher_is_better=True))
        return results

    def _premise(self, evaluation: "Evaluation") -> PremiseConfig:
        count = evaluation.arguments.get("premise_images") or PremiseConfig().num_images
        return PremiseConfig(count, batch_size=min(16, evaluation.config.batch_size), seed=evaluation.config.seed)


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: where chance has no spread, z is null."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
