"""Edits through a JSON file equal edits through the API; wrong files are one line."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sarigan.editing.edit_file import edits_from_dict, edits_to_dict, group_channels, load_edits, save_edits
from sarigan.errors import InputError
from sarigan.layers.grouping import GroupingConfig
from sarigan.layers.intervention import Intervention, group_code
from sarigan.models.generator import Generator, GeneratorConfig

SMALL = {"resolution": 16, "z_dim": 16, "style_dim": 16, "mapping_layers": 2, "channel_base": 128, "channel_max": 32}
LAYER = "16x16.up"


def build(num_groups: int = 4, **changes: Any) -> Generator:
    torch.manual_seed(3)
    return Generator(GeneratorConfig(**SMALL | changes, grouping=GroupingConfig(num_groups=num_groups))).requires_grad_(False)


@pytest.mark.parametrize("changes", [{}, {"style_biases": True}, {"form": "activation"}])
def test_through_a_file_and_directly(changes: dict[str, Any], tmp_path: Path) -> None:
    generator = build(**changes)
    z = torch.randn(2, 16)
    codes = generator(torch.randn(1, 16)).codes[LAYER]
    edits = [
        Intervention(LAYER, 1, "z", "move", 1.3, group_code(codes, 1, "z")[0]),
        Intervention("8x8.conv", 2, "h", "scale", 1 / 3),
        Intervention(LAYER, 0, "h", "shift", -0.7, group_code(codes, 0, "h")[0]),
    ]
    path = tmp_path / "new" / "edits.json"
    save_edits(edits, generator, path)
    direct = generator(z, noise="fixed", interventions=edits).images
    assert torch.equal(generator(z, noise="fixed", interventions=load_edits(path, generator)).images, direct)
    assert not torch.equal(generator(z, noise="fixed").images, direct)


def test_written_by_hand() -> None:
    generator = build()
    content = {"format": "sarigan-edits", "version": 1, "edits": [
        {"layer": LAYER, "group": 1, "code": "h", "operation": "move", "values": [2]},
    ]}  # fmt: skip
    (edit,) = edits_from_dict(content, generator)
    codes = generator(torch.randn(2, 16), interventions=[edit]).codes[LAYER]
    assert (group_code(codes, 1, "h") == 2).all()


def test_channels_of_a_group() -> None:
    generator = build()
    found = [channel for group in range(4) for channel in group_channels(generator, LAYER, group)]
    assert sorted(found) == list(range(32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": "64x64.up"}, "no grouped layer '64x64.up': the layers are 8x8.up, 8x8.conv"),
        ({"group": 4}, "no group 4 in layer 16x16.up: the groups are 0 to 3"),
        ({"group": 1.5}, "wrong type of group: 1.5"),
        ({"amount": True}, "wrong type of amount"),
        ({"code": None}, "wrong type of code"),
        ({"colour": 1}, "unknown field 'colour'"),
        ({"values": ["a"]}, "values must be a list of numbers"),
        ({"values": [1.0]}, "other channels in this checkpoint"),
        ({"values": [float("nan")] * 5}, "must be finite"),
        ({"values": [1e39] * 5}, "must be finite numbers of 32 bits"),
        ({"amount": 1e39}, "amount must be a finite number of 32 bits, got 1e.39"),
        ({"channels": [0]}, "other channels in this checkpoint"),
        ({"operation": "melt"}, "operation must be one of"),
    ],
)
def test_wrong_edits(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    generator = build()
    edit = Intervention(LAYER, 1, "z", "move", 1.0, torch.ones(len(group_channels(generator, LAYER, 1))))
    content = edits_to_dict([edit], generator)
    content["edits"][0].update(change)
    path = tmp_path / "edits.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message) as caught:
        load_edits(path, generator)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_wrong_files(tmp_path: Path) -> None:
    generator = build()
    path = tmp_path / "edits.json"
    with pytest.raises(InputError, match="edits.json: cannot be read .No such file"):
        load_edits(path, generator)
    for text, message in {
        "{": "edits.json: not a readable JSON file",
        "[]": "an edit file is",
        '{"format": "sarigan-edits", "version": 9, "edits": []}': "version 9, this program reads 1",
        '{"format": "sarigan-edits", "version": 1, "edits": [3]}': r"edits\[0\] must be an object",
        '{"format": "sarigan-edits", "version": 1, "edits": [{"layer": "8x8.up"}]}': "field 'group' is missing",
    }.items():
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            load_edits(path, generator)
    save_edits([Intervention(LAYER, 1, "h", "scale", 2.0)], generator, path)
    with pytest.raises(InputError, match=r"another architecture; .* generator.grouping.num_groups \(4 there, 3 here\)"):
        load_edits(path, build(num_groups=3))


def test_a_file_holds_one_sample() -> None:
    generator = build()
    with pytest.raises(InputError, match="values of one sample"):
        edits_to_dict([Intervention(LAYER, 1, "h", "move", 1.0, torch.ones(3, 1))], generator)
