"""What a card shows of a group: where it responds in this picture, its part, its share of energy, its channels."""

from dataclasses import dataclass

import numpy as np

from sarigan.analysis.part_iou import PartLabel
from sarigan.editing.rendering import group_responses
from sarigan.editor.session import Session
from sarigan.layers.intervention import check_place
from sarigan.visualization.attention_maps import heat_overlay, stretch, upsample_maps
from sarigan.visualization.sheet import pictures

THUMBNAIL_SIDE = 64


@dataclass(frozen=True)
class GroupCard:
    """One group of a layer. The part is that of `best_parts` (`hair 0.31`), None where there is no label."""

    group: int
    thumbnail: np.ndarray  # uint8 [S,S,3]: the mean feature over the picture
    num_channels: int
    energy_share: float  # h_i^2 / sum h^2 over the groups that hold channels
    part: str | None
    beats_chance: bool | None  # whether random groups fit their best part worse (p <= 0.05)


def group_cards(session: Session, layer: str, labels: dict[int, PartLabel] | None = None) -> list[GroupCard]:
    """A card for each group that holds channels. labels: of `EditedModel.labels`. InputError for a layer without groups."""
    generator = session.model.generator
    check_place(layer, None, generator.synthesis.num_groups())
    member = generator.grouped_layer(layer).grouping.membership()
    sizes = member.sum(dim=0).long().tolist()
    h = session.codes(layer).h_scale
    assert h is not None
    energy = h[0].double().square().cpu() * (member.sum(dim=0) > 0).cpu()
    shares = (energy / energy.sum().clamp_min(1e-30)).tolist()
    image = session.pictures().edited
    side = min(THUMBNAIL_SIDE, image.shape[-1])
    responses = group_responses(session.layer_input(layer).float(), member).cpu()
    maps = stretch(upsample_maps(responses, side))[0].numpy()
    (grey,) = pictures(upsample_maps(image, side))
    cards = []
    for group, size in enumerate(sizes):
        if size:
            part, chance = (labels or {}).get(group, (None, None))
            cards.append(GroupCard(group, heat_overlay(grey, maps[group]), size, shares[group], part, chance))
    return cards
