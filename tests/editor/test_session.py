"""A session makes what the commands make, with or without its cache, and undo returns the bits."""

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sarigan.commands import generate
from sarigan.editor.model import EditedModel
from sarigan.editor.saving import command_line, edit_file, latents_file, load_edit_file, png_bytes
from sarigan.editor.session import Session
from sarigan.errors import InputError
from sarigan.layers.intervention import Intervention
from sarigan.pretrained import load_generator
from sarigan.visualization.sheet import pictures

LAYER = "16x16.up"


def edited(session: Session) -> Tensor:
    return session.pictures().edited


def uncached(session: Session) -> Tensor:
    """The same picture from the whole network, by another reading of the file."""
    generator, recipe = load_generator(session.model.source), session.recipe
    noise = recipe.noise_maps(generator)
    return generator.synthesize(recipe.latents(generator), noise, recipe.edits).images


def edit_all_ways(session: Session) -> None:
    session.scale_strength(LAYER, 1, 2.5)
    session.move_along("8x8.conv", 2, 0, -1.5)
    session.move_toward(LAYER, 0, "zh", 9, 0.75)


def mix_all_ways(session: Session) -> None:
    session.mix_layers(5, "coarse", 0.5)
    session.mix_half(6, "z")
    session.move_direction(1, 2.0)
    session.move_direction(0, 1.0, (LAYER,))


def run_command(session: Session, folder: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    (folder / "edits.json").write_bytes(edit_file(session))
    (folder / "latents.npz").write_bytes(latents_file(session))
    monkeypatch.chdir(folder)
    program, command, *arguments = shlex.split(command_line(session))
    assert (program, command) == ("sarigan", "generate")
    monkeypatch.setattr(sys, "argv", ["sarigan generate", *arguments])
    generate.main()
    (path,) = (folder / "out/edited/images").iterdir()
    return np.asarray(Image.open(path, formats=["PNG"]))


@pytest.mark.parametrize("noise", ["fixed", "fresh", "none"])
@pytest.mark.parametrize("ways", [(edit_all_ways,), (mix_all_ways,), (edit_all_ways, mix_all_ways)])
def test_the_command_line_makes_the_same_bits(
    session: Session, ways: tuple[Callable[[Session], None], ...], noise: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = edited(session)
    session.set_seed(7)
    session.set_noise(noise)
    session.set_truncation(0.8)
    for way in ways:
        way(session)
    assert not torch.equal(edited(session), before)
    (tmp_path / "editor.png").write_bytes(png_bytes(edited(session)))
    own = np.asarray(Image.open(tmp_path / "editor.png", formats=["PNG"]))
    assert np.array_equal(run_command(session, tmp_path, monkeypatch), own)


def test_edits_equal_those_of_the_library(session: Session) -> None:
    session.set_seed(3)
    session.scale_strength(LAYER, 1, 2.5)
    generator = session.model.generator
    latents = session.recipe.sampling.latents(generator, [3])
    right = generator.synthesize(latents, "fixed", [Intervention(LAYER, 1, "h", "scale", 2.5)]).images
    assert torch.equal(edited(session), right)
    assert torch.equal(session.pictures().original, generator.synthesize(latents, "fixed").images)


@pytest.mark.parametrize(("layer", "computed"), [("8x8.up", 4), ("8x8.conv", 3), ("16x16.up", 2), ("16x16.conv", 1)])
def test_layers_below_the_edit_are_not_computed(session: Session, layer: str, computed: int) -> None:
    edited(session)
    session.scale_strength(layer, 0, 3.0)
    assert session._edited.num_computed == computed
    assert torch.equal(edited(session), uncached(session))
    assert session._edited.num_computed == 0  # nothing changed since


def test_cached_equals_uncached(session: Session) -> None:
    """After any order of actions, of all kinds."""
    actions = [
        lambda: session.scale_strength("16x16.conv", 1, 3.0),
        lambda: session.scale_strength("8x8.up", 1, 0.2),
        lambda: session.move_along(LAYER, 1, 1, 2.0),
        lambda: session.set_noise("fresh"),
        lambda: session.mix_layers(5, "fine"),
        lambda: session.set_seed(11),
        lambda: session.switch(1, False),
        lambda: session.move(2, -1),
        lambda: session.shift_channel("4x4.conv", 3, 1.5),
        lambda: session.set_truncation(-0.3),
        lambda: session.mix_half(8, "h", 0.3),
        lambda: session.remove(2),
        lambda: session.switch(1, True),
        session.undo,
        session.redo,
    ]
    for action in actions:
        action()
        assert torch.equal(edited(session), uncached(session))


def test_a_cache_without_room_gives_the_same_bits(session: Session) -> None:
    edit_all_ways(session)
    session._edited.max_bytes = 0
    session.set_seed(2)
    assert torch.equal(edited(session), uncached(session)) and session._edited.num_computed == 5
    with pytest.raises(InputError, match="too large"):
        session.layer_input(LAYER)


def test_undo_and_redo_return_the_bits(session: Session) -> None:
    shown = [edited(session)]
    for action in (
        lambda: session.set_seed(5),
        lambda: session.scale_strength(LAYER, 0, 2.0),
        lambda: session.scale_strength(LAYER, 1, 0.0),
        lambda: session.move(2, -1),
        lambda: session.mix_layers(3, "fine"),
        session.remove_all,
    ):
        action()
        shown.append(edited(session))
    for image in reversed(shown[:-1]):
        session.undo()
        assert torch.equal(edited(session), image)
    assert not session.can_undo
    session.undo()  # nothing to take back
    for image in shown[1:]:
        session.redo()
        assert torch.equal(edited(session), image)
    assert not session.can_redo


def test_one_slider_is_one_step(session: Session) -> None:
    start = edited(session)
    for amount in (1.1, 1.2, 1.3):
        session.scale_strength(LAYER, 0, amount)
    middle = edited(session)
    session.settle()
    session.scale_strength(LAYER, 0, 2.0)
    assert len(session.recipe.entries) == 1
    session.undo()
    assert torch.equal(edited(session), middle)
    session.undo()
    assert torch.equal(edited(session), start)


def test_the_list_is_switched_and_ordered(session: Session) -> None:
    plain = edited(session)
    session.move_along(LAYER, 0, 0, 2.0)
    first = edited(session)
    session.move_toward(LAYER, 0, "z", 4, 0.5)
    both = edited(session)
    session.move(2, -1)
    assert [entry.number for entry in session.recipe.entries] == [2, 1]
    assert not torch.equal(edited(session), both)  # a shift before a move is another thing
    session.switch(2, False)
    assert torch.equal(edited(session), first)
    session.remove(1)
    assert torch.equal(edited(session), plain)
    session.switch(2, True)
    session.set_amount(2, 0.0)
    assert torch.equal(edited(session), plain)


def many_edits(count: int) -> bytes:
    edits = [{"layer": LAYER, "group": 0, "code": "h", "operation": "scale", "amount": 1 + i / count} for i in range(count)]
    return json.dumps({"format": "sarigan-edits", "version": 1, "edits": edits}).encode()


def test_a_refused_action_changes_nothing(session: Session) -> None:
    edit_all_ways(session)
    before, recipe = edited(session), session.recipe
    for action, message in (
        (lambda: session.scale_strength(LAYER, 9, 1.0), "no group 9"),
        (lambda: session.scale_strength("64x64.up", 0, 1.0), "no grouped layer"),
        (lambda: session.scale_strength(LAYER, 0, float("nan")), "finite"),
        (lambda: session.move_along(LAYER, 0, 99, 1.0), "no direction 99"),
        (lambda: session.mix_layers(1, "9-12"), "latents are 0 to 5"),
        (lambda: session.set_seed(-1), "seed must be 0 to"),
        (lambda: session.set_class("blonde"), "without classes"),
        (lambda: session.set_truncation(float("inf")), "truncation must be"),
        (lambda: session.shift_channel(LAYER, 99, 1.0), "no channel 99"),
        (lambda: session.remove(77), "no edit 77"),
        (lambda: session.mix_layers(1, "coarse", float("inf")), "amount must be a finite number"),
        (lambda: session.mix_layers(1, "coarse", 1e38), "make no picture"),
        (lambda: load_edit_file(session, "edits.json", many_edits(1001)), "the list holds 1000 edits"),
    ):
        with pytest.raises(InputError, match=message):
            action()
        assert session.recipe is recipe
    assert torch.equal(edited(session), before)


def test_sessions_do_not_meet(session: Session) -> None:
    other = Session(session.model)
    edit_all_ways(session)
    assert not torch.equal(edited(session), edited(other))
    assert torch.equal(edited(other), uncached(other)) and not other.can_undo


@pytest.mark.parametrize("ways", [(edit_all_ways,), (mix_all_ways,), (edit_all_ways, mix_all_ways)])
def test_a_file_brings_the_picture_back(session: Session, ways: tuple[Callable[[Session], None], ...]) -> None:
    session.set_seed(21)
    for way in ways:
        way(session)
    session.switch(1, False)
    other = Session(session.model)
    load_edit_file(other, "edits.json", edit_file(session))
    assert torch.equal(edited(other), edited(session))
    other.undo()
    assert torch.equal(edited(other), edited(Session(session.model)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello", "edits.json: not a readable JSON file of edits"),
        (b"[]", "edits.json: an edit file is"),
        (b'{"format": "sarigan-edits", "version": 1, "edits": [{"layer": "1x1"}]}', "edits.json: edits.0.: field 'group' is"),
        (b'{"format": "sarigan-edits", "version": 1, "edits": [], "picture": 3}', "edits.json: picture must be an object"),
        (b'{"format": "sarigan-edits", "version": 1, "edits": [], "picture": {"seed": "x"}}', "edits.json: picture must have"),
        (b'{"format": "sarigan-edits", "version": 1, "edits": [], "picture": {"seed": true}}', "edits.json: picture must have"),
        (b'{"format": "sarigan-edits", "version": 1, "edits": [], "picture": {"latents": [[1]]}}', "picture.latents must be"),
        (b'{"format": "sarigan-edits", "version": 1, "edits": [], "architecture": {"resolution": 8}}', "another architecture"),
        (b"[" * 100_000, "edits.json: not a readable JSON file of edits"),
        (b" " * (9 << 20), "edits.json: 9,437,184 bytes"),
    ],
)
def test_a_wrong_file_is_one_line(session: Session, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        load_edit_file(session, "edits.json", content)
    assert "\n" not in str(error.value)


def test_a_model_without_groups(exported: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(EditedModel(str(exported("none"))))
    assert not session.model.has_groups and "no groups" in session.model.description()
    session.shift_channel(LAYER, 3, 2.0)
    session.move_direction(0, 1.5, (LAYER,))
    session.mix_layers(5, "coarse")
    assert torch.equal(edited(session), uncached(session))
    assert np.array_equal(run_command(session, tmp_path, monkeypatch), pictures(edited(session))[0])
    with pytest.raises(InputError, match="has no groups"):
        session.scale_strength(LAYER, 0, 1.0)
    with pytest.raises(InputError, match="no halves"):
        session.mix_half(1, "z")


def test_stylegan_mixes_styles(exported: Callable[..., Path]) -> None:
    session = Session(EditedModel(str(exported("none", synthesis="adain"))))
    assert session.model.layers() == []
    before = edited(session)
    session.mix_layers(5, "fine")
    assert not torch.equal(edited(session), before) and torch.equal(edited(session), uncached(session))
    assert session._edited.num_computed == 0
    session.set_noise("none")
    assert torch.equal(edited(session), uncached(session))


def test_classes(exported: Callable[..., Path]) -> None:
    session = Session(EditedModel(str(exported(class_names=["cat", "dog"], class_shares=[0.5, 0.5]))))
    session.set_class("cat")
    cat = edited(session)
    session.set_class("dog")
    assert not torch.equal(edited(session), cat)
    assert "--class dog" in command_line(session)
    session.undo()
    assert torch.equal(edited(session), cat)
    with pytest.raises(InputError, match="does not exist"):
        session.set_class("cow")
