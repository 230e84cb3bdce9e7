"""docs/configuration.md has every setting of every system, in the words of the code."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sarigan.config import load_config
from sarigan.config.reference import PAGE, field_texts, page, settings_of
from sarigan.systems.registry import SYSTEMS


@dataclass(frozen=True)
class Inner:
    """A section."""

    # Two lines
    # above.
    a: int = 1
    b: float = 2e-4  # behind
    c: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Outer(Inner):
    """A section with another in it."""

    b: float = 3.0
    # above
    d: str | None = None  # behind, with # a second mark
    inner: Inner = field(default_factory=Inner)


def test_texts_are_the_comments() -> None:
    assert field_texts(Inner) == {"a": "Two lines above.", "b": "behind", "c": ""}
    found = {setting.name: (setting.default, setting.text) for setting in settings_of(Outer, "s.")}
    assert found == {
        "s.a": ("1", "Two lines above."), "s.b": ("3", "behind"), "s.c": ("[]", ""),
        "s.d": ("null", "above; behind, with # a second mark"),
        "s.inner.a": ("1", "Two lines above."), "s.inner.b": ("0.0002", "behind"), "s.inner.c": ("[]", ""),
    }  # fmt: skip


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_setting_has_a_text(name: str) -> None:
    assert [setting.name for setting in settings_of(SYSTEMS[name]) if not setting.text] == []


def test_every_setting_is_on_the_page() -> None:
    text = page()
    for system in SYSTEMS.values():
        for setting in settings_of(system):
            assert f"| `{setting.name}` |" in text or setting.name == "system"


def test_the_page_is_written(project_root: Path) -> None:
    """After a change of a setting: python -m sarigan.config.reference."""
    assert PAGE.read_text() == page()


def test_defaults_are_those_of_a_configuration() -> None:
    config = load_config()
    shown = {setting.name: setting.default for setting in settings_of(SYSTEMS["style"])}
    assert shown["objective.r1_gamma"] == f"{config.objective.r1_gamma:g}" and shown["training.tf32"] == "false"
    assert shown["generator.grouping.num_groups"] == str(config.generator.grouping.num_groups)
