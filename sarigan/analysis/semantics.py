"""Are the groups of a layer semantic? All scores of its own groups, of groups made afterwards, and of random ones.

Part IoU (`part_iou.py`), edit lift (`locality_report.py`), disentanglement (`disentanglement.py`) and information
(`group_information.py`), for every way to group the same channels of the same model. All partitions of a layer have groups of
equal sizes, so one permutation null serves all of them. A layer without groups (StyleGAN2) has those made afterwards alone.
Legend: C channels, G groups, P random partitions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sarigan.analysis.channel_clusters import k_means
from sarigan.analysis.disentanglement import AttributeChange, disentanglement
from sarigan.analysis.group_edits import GroupEdits, Judge, occupied_groups
from sarigan.analysis.group_information import InformationScorer
from sarigan.analysis.locality_report import PartChange, locality_of, locality_record
from sarigan.analysis.part_iou import IouScorer, PartMasks, iou_against, layer_features
from sarigan.errors import InputError
from sarigan.layers.fixed_grouping import contiguous_groups
from sarigan.layers.kernel_similarity import kernel_similarity
from sarigan.metrics.groups.permutation_null import NullTest, null_test, random_partitions
from sarigan.metrics.groups.premise import PremiseConfig, activation_correlations, mantel_spearman
from sarigan.models.feature_networks.avatar_networks import AvatarClassifier
from sarigan.models.generator import Generator
from sarigan.progress import progress_bar

OWN, KERNELS, ACTIVATIONS = "its own", "k-means of kernels", "k-means of activations"
MAX_SHARE, MAX_GROUPS = 0.25, 16  # of a layer without groups: as the configurations of grouped ones


@dataclass(frozen=True)
class SemanticsConfig:
    """How much is measured."""

    num_permutations: int = 200  # of channels: part IoU, information, premise, churn
    num_partitions: int = 20  # random partitions that are edited
    num_premise_images: int = 256
    num_groups: int | None = None  # of a layer without groups; None: a quarter of its channels, at most 16
    batch_size: int = 16


@dataclass(frozen=True)
class Seen:
    """What is looked at: latents [N,L,w_dim], their parts, and images with the logits of their attributes."""

    latents: Tensor
    masks: PartMasks
    classifier: AvatarClassifier | None = None  # None: nothing names attributes of these images
    many_latents: Tensor | None = None  # [M,L,w_dim], for the information per group
    logits: Tensor | None = None  # [M,A] of their images


@dataclass(frozen=True)
class Scores:
    """One score of every way to group, and of random groups of the same sizes."""

    found: dict[str, float]  # by way
    null: np.ndarray  # [P]

    def test(self, way: str) -> NullTest:
        """The score of one way against chance."""
        return null_test(self.found[way], self.null)


@dataclass
class LayerSemantics:
    """One layer of one model."""

    groups: dict[str, Tensor]  # [C] by way
    scores: dict[str, Scores]  # by name of the score
    premise: NullTest
    shares: dict[str, Tensor]  # [G,K] by way: the share of each edit's change on each part
    null_shares: Tensor  # [P,G,K]
    locality: dict[str, Any] | None  # record of its own groups
    best_attributes: dict[str, list[str]]  # by way: of each group's edit; empty without a classifier


def groupable_layers(generator: Generator) -> dict[str, Tensor]:
    """The kernel that produces the input channels of each layer that can be grouped; InputError when there is none."""
    kernels = generator.synthesis.producing_kernels()
    if not kernels:
        raise InputError("semantics needs channels with the styles of StyleGAN2 or SariGAN; this generator has none")
    return kernels


def own_groups(generator: Generator) -> dict[str, tuple[Tensor, int]]:
    """Groups [C] of every grouped layer, and how many there can be."""
    found = {layer.name: layer.grouping for layer in generator.grouped_layers()}
    return {name: (grouping.membership().argmax(dim=1).cpu(), grouping.num_groups) for name, grouping in found.items()}


@torch.no_grad()
def measure_semantics(
    generator: Generator, layers: Sequence[str], seen: Seen, config: SemanticsConfig, show_progress: bool = False
) -> dict[str, LayerSemantics]:
    """Every layer by name. InputError for more groups than a layer has channels."""
    kernels = groupable_layers(generator)
    narrowest = min(layers, key=lambda name: len(kernels[name]))
    if config.num_groups is not None and not 1 <= config.num_groups <= len(kernels[narrowest]):
        most = f"the channels of layer {narrowest}"
        raise InputError(f"--groups must be 1 to {len(kernels[narrowest])}, {most}, got {config.num_groups}")
    features = layer_features(generator, layers, seen.latents, config.batch_size)
    premise = PremiseConfig(config.num_premise_images, config.num_permutations, config.batch_size)
    correlations = activation_correlations(generator, premise, layers=layers)
    scales = None
    if seen.many_latents is not None:
        scales = {name: f.cpu() for name, f in generator.synthesis.channel_scales(seen.many_latents).items()}
    own, found = own_groups(generator), {}
    for name in layers:
        similarity = kernel_similarity(kernels[name].detach().cpu().double())
        groups, num_groups = _partitions(own.get(name), similarity, correlations[name], config)
        edits = GroupEdits(generator, name, seen.latents, config.batch_size)
        information = None if scales is None or seen.logits is None else InformationScorer(scales[name], seen.logits)
        measure = _LayerMeasurement(name, groups, num_groups, seen.masks, config, show_progress)
        measure.responses(features[name])
        if information is not None:
            measure.information(information)
        measure.edits(edits, seen.classifier)
        null = mantel_spearman(similarity, correlations[name], config.num_permutations, seed=0)
        found[name] = measure.result(null)
    return found


def _partitions(
    own: tuple[Tensor, int] | None, similarity: Tensor, correlation: Tensor, config: SemanticsConfig
) -> tuple[dict[str, Tensor], int]:
    """Every way to group the channels, all with the sizes of the first, and the number of groups."""
    if own is None:
        channels = len(similarity)
        count = config.num_groups or max(1, min(MAX_GROUPS, int(MAX_SHARE * channels)))
        first, count, ways = contiguous_groups(channels, count), count, {}
    else:
        first, count = own
        ways = {OWN: first}
    sizes = torch.bincount(first, minlength=count)
    return {**ways, KERNELS: k_means(similarity, sizes), ACTIVATIONS: k_means(correlation, sizes)}, count


class _LayerMeasurement:
    """The scores of one layer, gathered one after the other."""

    def __init__(
        self, layer: str, groups: dict[str, Tensor], num_groups: int, masks: PartMasks, config: SemanticsConfig,
        show_progress: bool,
    ) -> None:  # fmt: skip
        self.layer, self.groups, self.num_groups, self.masks = layer, groups, num_groups, masks
        self.config, self.show_progress = config, show_progress
        self.first = next(iter(groups.values()))  # whose sizes all have
        self.occupied = occupied_groups(self.first)
        self.scores: dict[str, Scores] = {}
        self.best_attributes: dict[str, list[str]] = {}
        self.locality: dict[str, Any] | None = None

    def responses(self, features: Tensor) -> None:
        """Part IoU of features [N,C,H,W]."""
        scorer = IouScorer(features, self.masks.masks, len(self.masks.names))
        null = scorer.null(self.first, self.num_groups, self.config.num_permutations, self.show_progress)
        tables = {way: scorer(groups, self.num_groups) for way, groups in self.groups.items()}
        best = {way: float(table[self.occupied].amax(dim=1).mean()) for way, table in tables.items()}
        self.scores["part IoU"] = Scores(best, null.amax(dim=2).mean(dim=1).numpy())
        self.iou = iou_against(tables[OWN], null, self.first) if OWN in tables else None

    def information(self, scorer: InformationScorer) -> None:
        """Nats about the attribute that each group tells most about."""

        def score(groups: Tensor) -> float:
            return float(scorer(groups, self.num_groups)[self.occupied].amax(dim=1).mean())

        null = [score(some) for some in random_partitions(self.first, self.config.num_permutations)]
        self.scores["information"] = Scores({way: score(groups) for way, groups in self.groups.items()}, np.array(null))

    def edits(self, edits: GroupEdits, classifier: AvatarClassifier | None) -> None:
        """Edit lift, and with a classifier disentanglement, of one set of edited images."""
        ways = list(self.groups)
        judge = PartChange(edits.before, self.masks.masks, len(self.masks.names))
        judges: dict[str, Judge] = judge.judges()
        attributes = None
        if classifier is not None:
            attributes = AttributeChange(classifier, classifier.names, edits.before)
            judges["attributes"] = attributes
        partitions = [*self.groups.values(), *random_partitions(self.first, self.config.num_partitions)]
        total, shown = len(partitions) * len(self.occupied), f"edits of {self.layer}"
        with progress_bar(total=total, desc=shown, disable=not self.show_progress) as bar:
            answers = edits.judged(partitions, judges, bar.update)
        share, count = answers["share"], len(ways)
        self.shares, self.null_shares = dict(zip(ways, share, strict=False)), share[count:]
        self.scores["edit lift"] = _scores(judge.best_lift(share), ways)
        if attributes is not None:
            effects = answers["attributes"]
            self.scores["disentanglement"] = _scores(disentanglement(effects), ways)
            for way, table in zip(ways, effects, strict=False):
                self.best_attributes[way] = [attributes.names[place] for place in table.argmax(dim=1).tolist()]
        if self.iou is not None:
            own_and_null = {name: torch.cat([found[:1], found[count:]]) for name, found in answers.items()}
            locality = locality_of(judge, own_and_null, self.first, self.num_groups)
            self.locality = locality_record(
                self.layer, len(edits.latents), self.first, self.iou, locality, self.masks
            )  # fmt: skip

    def result(self, premise: NullTest) -> LayerSemantics:
        """All of it."""
        return LayerSemantics(
            self.groups, self.scores, premise, self.shares, self.null_shares, self.locality, self.best_attributes
        )  # fmt: skip


def _scores(values: Tensor, ways: Sequence[str]) -> Scores:
    """From a score [W + P,G] of each group: of W ways, then of P random partitions."""
    means = values.double().mean(dim=1)
    return Scores(dict(zip(ways, means.tolist(), strict=False)), means[len(ways) :].numpy())


def mean_over_layers(layers: Mapping[str, LayerSemantics]) -> dict[str, Scores]:
    """Every score as its mean over the layers; its null are means over layers of random partitions, drawn layer by layer."""
    measured = list(layers.values())
    found = {}
    for name in measured[0].scores:
        scores = [layer.scores[name] for layer in measured]
        ways = [way for way in scores[0].found if all(way in score.found for score in scores)]
        means = {way: float(np.mean([score.found[way] for score in scores])) for way in ways}
        found[name] = Scores(means, np.mean([score.null for score in scores], axis=0))
    return found
