"""A class-conditional generator (BigGAN) in the editor: classes, channels, ways between classes, the command's bits."""

import math
import shlex
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from upload_pictures import photograph

from sarigan.analysis.channel_effects import channel_use
from sarigan.commands import generate
from sarigan.editor.feature_cache import FeatureCache
from sarigan.editor.films import between, classes_sheet, film, from_class, strip
from sarigan.editor.model import EditedModel
from sarigan.editor.projecting import Upload, project_photograph
from sarigan.editor.saving import command_line, edit_file, latents_file, load_edit_file
from sarigan.editor.session import Session
from sarigan.errors import InputError
from sarigan.pretrained import load_generator
from sarigan.visualization.sheet import pictures

LAYER = "16x16.up"


@pytest.fixture
def session(biggan: Path) -> Session:
    return Session(EditedModel(str(biggan)))


def edited(session: Session) -> Tensor:
    return session.pictures().edited


def whole(session: Session) -> Tensor:
    """The same picture by the whole network, of another reading of the file."""
    generator, recipe = load_generator(session.model.source), session.recipe
    return generator.synthesize(recipe.latents(generator), (), recipe.edits).images


def test_what_the_page_offers(session: Session) -> None:
    model = session.model
    assert model.layers() == ["8x8.up", "8x8.conv", "16x16.up", "16x16.conv"] and model.ranges() == ["coarse", "fine"]
    assert not (model.has_groups or model.has_directions or model.has_noise or model.can_label) and model.has_channel_use
    assert "class-conditional norms" in model.description() and "3 classes" in model.description()
    with pytest.raises(InputError, match="StyleGAN2 and SariGAN alone"):
        session.move_direction(0, 1.0)


def test_cached_equals_the_whole_network_and_undo_gives_the_bits_back(session: Session) -> None:
    plain = edited(session)
    session.set_class("hat")
    cache = FeatureCache()

    def num_computed() -> int:
        recipe, generator = session.recipe, session.model.generator
        made = cache.synthesize(generator, recipe.latents(generator), recipe.noise_maps(generator), recipe.edits)
        assert torch.equal(made.images, whole(session)) and torch.equal(made.images, edited(session))
        return cache.num_computed

    num_computed()
    for change, computed in (
        (lambda: session.shift_channel(LAYER, 3, 2.0), 2), (lambda: session.shift_channel("16x16.conv", 1, -2.0), 1),
        (lambda: session.shift_channel("8x8.up", 1, 2.0), 4), (lambda: session.shift_channel("8x8.conv", 0, 2.0), 3),
        (lambda: session.set_class("coat"), 4), (lambda: session.set_truncation(0.3), 4), (lambda: session.set_seed(8), 4),
        (lambda: session.mix_layers(6, "0"), 4), (lambda: session.mix_layers(5, "fine"), 2),
        (lambda: session.mix_layers(5, "coarse"), 4),
    ):  # fmt: skip
        before = edited(session)
        change()
        assert num_computed() == computed and not torch.equal(edited(session), before)
    assert num_computed() == 0
    while session.can_undo:
        session.undo()
    assert torch.equal(edited(session), plain)


def test_the_command_makes_the_same_picture(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session.set_class("coat")
    session.shift_channel(LAYER, 3, 2.0)
    for mixed in (False, True):
        if mixed:
            session.mix_layers(5, "fine")
        folder = tmp_path / str(mixed)
        folder.mkdir()
        (folder / "edits.json").write_bytes(edit_file(session))
        (folder / "latents.npz").write_bytes(latents_file(session))
        command = command_line(session)
        assert ("--latents" if mixed else "--class coat") in command
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", shlex.split(command)[1:])
        generate.main()
        (path,) = (folder / "out/edited/images").iterdir()
        assert np.array_equal(np.asarray(Image.open(path, formats=["PNG"])), pictures(edited(session))[0])
        other = Session(session.model)
        load_edit_file(other, "edits.json", edit_file(session))
        assert torch.equal(edited(other), edited(session))


def test_the_way_from_class_to_class_is_exact_at_both_ends(session: Session) -> None:
    session.set_seed(3)
    session.shift_channel(LAYER, 2, 1.0)
    ends = from_class(session, "hat", "boot")
    for name, share in (("hat", 0.0), ("boot", 1.0)):
        session.set_class(name)
        latents, edits = between(session.model.generator, *ends, share)
        assert torch.equal(session.model.generator.synthesize(latents, (), edits).images, edited(session))
    # Half of the way has the mean of both class codes and the z of both.
    generator = session.model.generator
    latents, _ = between(generator, *ends, 0.5)
    codes = generator.mapping.codes(torch.tensor([2, 0]), torch.float32).mean(dim=0)
    assert torch.allclose(latents[0, 0, :5], codes, atol=1e-6)
    assert torch.equal(latents[0, :, 5:], ends[0].base_latents(generator)[0, :, 5:])
    assert strip(session, ends, 5).width > 5 * 96 and film(session, ends, ".gif", 4).startswith(b"GIF")
    with pytest.raises(InputError, match="class 'cow' does not exist"):
        from_class(session, "hat", "cow")


def test_a_sheet_of_all_classes(session: Session) -> None:
    """A column without edits, two with; each row is the picture of its class."""
    plain = classes_sheet(session)
    session.shift_channel(LAYER, 2, 4.0)
    assert classes_sheet(session).width > plain.width
    session.set_class("coat")
    pixels = np.asarray(classes_sheet(session).convert("RGB"))
    tile = pictures(edited(session))[0].repeat(6, axis=0).repeat(6, axis=1)  # 16 px enlarged to 96
    rows, columns = pixels.shape[0] - 95, pixels.shape[1] - 95
    assert any(np.array_equal(pixels[y : y + 96, x : x + 96], tile) for y in range(rows) for x in range(columns)
               if np.array_equal(pixels[y, x], tile[0, 0]))  # fmt: skip


def test_channels_are_ordered_by_the_mean_of_their_relu(session: Session) -> None:
    codes = session.codes(LAYER)
    gain, bias = codes.z_scale[0].double().tolist(), codes.z_bias[0].double().tolist()
    steps = np.linspace(-10, 10, 200_001)
    density = np.exp(-(steps**2) / 2) / math.sqrt(2 * math.pi)
    right = [
        float((np.maximum(g * steps + b, 0) * density).sum() * (steps[1] - steps[0])) for g, b in zip(gain, bias, strict=True)
    ]
    found = channel_use(codes)
    assert [channel for channel, _ in found] == np.argsort([-value for value in right], kind="stable").tolist()
    assert [value for _, value in found] == pytest.approx([right[channel] for channel, _ in found], abs=1e-6)


def test_a_photograph_is_projected_and_has_no_class_to_leave(session: Session) -> None:
    found = project_photograph(session.model, Upload("p.png", photograph()), "w+", 2, lambda *_: None, threading.Event())
    session.set_projection(found.latents, found.edits)
    assert torch.equal(edited(session), whole(session))
    for make in (lambda: from_class(session, "hat", "boot"), lambda: classes_sheet(session)):
        with pytest.raises(InputError, match="choose a seed first"):
            make()
