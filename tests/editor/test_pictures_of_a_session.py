"""Cards of groups, films between two states, sheets of seeds, and photographs: what a session shows beside its picture."""

import io
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from upload_pictures import bomb, photograph

from sarigan.analysis.part_iou import PartLabel
from sarigan.editor.films import between, film, from_kept, seeds_sheet, strip
from sarigan.editor.group_cards import group_cards
from sarigan.editor.model import EditedModel
from sarigan.editor.projecting import Cancelled, Upload, project_photograph, read_photograph
from sarigan.editor.recipe import Recipe
from sarigan.editor.session import Session
from sarigan.errors import InputError
from sarigan.visualization.attention_maps import response_maps, stretch

LAYER = "16x16.up"


def test_cards_show_what_the_sheet_of_responses_shows(session: Session) -> None:
    session.set_seed(6)
    session.scale_strength("8x8.up", 0, 2.0)  # a layer before
    session.scale_strength(LAYER, 2, 3.0)
    cards = group_cards(session, LAYER)
    generator = session.model.generator
    member = generator.grouped_layer(LAYER).grouping.membership()
    assert [card.num_channels for card in cards] == [int(n) for n in member.sum(dim=0) if n]
    h = session.codes(LAYER).h_scale[0].double().tolist()  # of the edited picture
    total = sum(h[card.group] ** 2 for card in cards)
    assert [card.energy_share for card in cards] == pytest.approx([h[card.group] ** 2 / total for card in cards])
    assert sum(card.energy_share for card in cards) == pytest.approx(1)
    assert all(card.part is None and card.thumbnail.shape == (16, 16, 3) for card in cards)
    session.remove_all()
    _, responses, _ = response_maps(generator, session.recipe.sampling, [6], LAYER)
    own = session.layer_input(LAYER)[0]
    for card in group_cards(session, LAYER):
        assert torch.allclose(own[member[:, card.group] > 0].mean(dim=0), responses[0, card.group], atol=1e-6)
    assert float(stretch(responses).max()) == 1


def test_labels_stand_on_cards(session: Session) -> None:
    cards = group_cards(session, LAYER, {0: PartLabel("hair 0.31", True), 1: PartLabel("skin 0.10", False)})
    assert [(card.part, card.beats_chance) for card in cards if card.group < 3] == [
        ("hair 0.31", True), ("skin 0.10", False), (None, None),
    ][: sum(card.group < 3 for card in cards)]  # fmt: skip


def test_a_film_is_exact_at_both_ends(session: Session) -> None:
    """Also where the two states have other edits, and other latents."""
    session.scale_strength(LAYER, 0, 2.0)
    session.mix_layers(4, "coarse")
    first = session.recipe
    shown = [session.pictures().edited]
    session.set_seed(9)
    session.remove(1)
    session.move_along("8x8.conv", 1, 0, 1.5)
    last = session.recipe
    shown.append(session.pictures().edited)
    generator = session.model.generator
    for share, image in zip((0.0, 1.0), shown, strict=True):
        latents, edits = between(generator, first, last, share)
        assert torch.equal(generator.synthesize(latents, "fixed", edits).images, image)
    latents, edits = between(generator, first, last, 0.5)
    middle = generator.synthesize(latents, "fixed", edits).images
    assert all(not torch.equal(middle, end) for end in shown)


def test_a_change_of_both_states_goes_from_amount_to_amount(session: Session) -> None:
    session.scale_strength(LAYER, 0, 2.0)
    first = session.recipe
    session.settle()
    session.scale_strength(LAYER, 0, 4.0)
    _, (edit,) = between(session.model.generator, first, session.recipe, 0.25)
    assert edit.amount == 2.5


def test_a_film_toward_another_seed_does_not_jump(session: Session) -> None:
    """Both states change one place, toward unlike seeds: their codes differ, not the amount alone."""
    session.move_toward(LAYER, 0, "zh", 5, 1.0)
    first = session.recipe
    session.move_toward(LAYER, 0, "zh", 9, 1.0)
    _, edits = between(session.model.generator, first, session.recipe, 0.75)
    assert [(edit.code, edit.amount) for edit in edits] == [("z", 0.25), ("h", 0.25), ("z", 0.75), ("h", 0.75)]


def test_films_and_strips(session: Session) -> None:
    with pytest.raises(InputError, match="keep a state first"):
        from_kept(session)
    session.kept = session.recipe
    session.scale_strength(LAYER, 0, 5.0)
    assert strip(session, from_kept(session), 5).width > 5 * 96
    found = Image.open(io.BytesIO(film(session, from_kept(session), ".gif", 4)), formats=["GIF"])
    assert found.n_frames == 6 and found.size == (256, 256)
    with pytest.raises(InputError, match="2 to 240 pictures, got 1"):
        film(session, from_kept(session), ".gif", 1)


def test_a_sheet_of_seeds_holds_the_edit(session: Session) -> None:
    session.scale_strength(LAYER, 0, 5.0)
    sheet = seeds_sheet(session, 100)
    assert sheet.width > 8 * 96 and sheet.height > 4 * 96
    session.remove_all()
    rows = np.asarray(seeds_sheet(session, 100))
    assert not np.array_equal(rows, np.asarray(sheet))
    with pytest.raises(InputError, match="seed must be 0 to"):
        seeds_sheet(session, 2**32 - 5)


def test_a_projection_is_a_picture_that_can_be_edited(session: Session) -> None:
    seen: list[tuple[int, int]] = []
    before = session.pictures().edited
    found = project_photograph(
        session.model, Upload("me.png", photograph()), "codes", 2, lambda *step: seen.append(step), threading.Event()
    )
    session.set_projection(found.latents, found.edits)
    assert seen == [(step, 6) for step in range(6)]
    assert torch.equal(session.pictures().edited, found.image)
    assert len(session.recipe.entries) == 1  # all codes together
    session.set_amount(1, 0.0)
    assert not torch.equal(session.pictures().edited, found.image)
    session.undo()
    session.undo()
    assert torch.equal(session.pictures().edited, before)


def test_a_projection_is_cancelled(session: Session) -> None:
    cancel = threading.Event()
    with pytest.raises(Cancelled):
        project_photograph(session.model, Upload("me.png", photograph()), "w", 500, lambda *_: cancel.set(), cancel)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"just text", "me.png: not a picture that can be read .unknown or damaged image format"),
        (b"", "me.png: not a picture that can be read .empty file"),
        (photograph()[:80], "me.png: not a picture that can be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "me.png: not a picture"),
        (bomb(), "me.png: not a picture that can be read .*decompression bomb"),
        (photograph((10_000, 5_100)), "10000 x 5100 pixels, at most 50,000,000"),
        (bytes(25 << 20), "me.png: 26,214,400 bytes; at most"),
    ],
)
def test_what_is_no_photograph_is_one_line(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        read_photograph(Upload("me.png", content), 16)
    assert "\n" not in str(error.value)


def test_the_newest_checkpoint_is_read_again(exported: Callable[..., Path], tmp_path: Path) -> None:
    model = EditedModel(str(exported()))
    session, other = Session(model), Session(model)
    session.move_along(LAYER, 0, 0, 2.0)
    session.pictures()
    assert not model.is_run and not model.reload()  # the same file
    model.source = str(exported("random"))
    assert model.reload()
    with pytest.raises(InputError, match="values, got"):  # a picture that is asked for first does not hide that they do not fit
        session.pictures()
    assert "removed" in session.meet_model() and not session.recipe.entries
    assert other.meet_model() == ""
    latents = Recipe().latents(model.generator)
    assert torch.equal(other.pictures().edited, model.generator.synthesize(latents, "fixed").images)
