"""docs/configuration.md: every setting with its default and what it does, in the words that stand beside it in the code.

A field's text is the comment behind it, or the lines of comment above it. A section's is the docstring of its dataclass.
`python -m sarigan.config.reference` writes the page; a test checks that it is as it should be.
"""

import ast
import dataclasses
import inspect
import textwrap
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sarigan.systems.registry import SYSTEMS
from sarigan.training.run_config import RunConfig

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"
HEAD = """# Configuration

Written by `python -m sarigan.config.reference` from the dataclasses in the code: what stands here stands there, beside the
field. A YAML file of `configs/` sets fields of sections, `base:` names a file to begin with, and `section.key=value` on the
command line goes before both. kimg is a thousand images; [glossary.md](glossary.md) has other words. `null` is no value.
"""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One field of a section."""

    name: str  # data.path
    default: str
    text: str
    section: type


def settings_of(section: type, prefix: str = "") -> Iterator[Setting]:
    """Every field of a dataclass and of the dataclasses in it, in order."""
    kinds = typing.get_type_hints(section)
    texts = field_texts(section)
    for field in dataclasses.fields(section):
        if dataclasses.is_dataclass(kinds[field.name]):
            yield from settings_of(typing.cast(type, kinds[field.name]), f"{prefix}{field.name}.")
        else:
            yield Setting(f"{prefix}{field.name}", _default(field), texts.get(field.name, ""), section)


def field_texts(section: type) -> dict[str, str]:
    """Field -> the comment behind it, or above it; those of base classes too."""
    found: dict[str, str] = {}
    for kind in reversed(section.__mro__):
        if not dataclasses.is_dataclass(kind):
            continue
        source = textwrap.dedent(inspect.getsource(kind))
        lines = source.splitlines()
        for node in typing.cast(ast.ClassDef, ast.parse(source).body[0]).body:
            if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name) or node.end_lineno is None:
                continue
            behind = lines[node.end_lineno - 1][node.end_col_offset :].partition("#")[2].strip()
            above: list[str] = []
            for line in reversed(lines[: node.lineno - 1]):
                if not line.strip().startswith("#"):
                    break
                above.insert(0, line.strip(" #"))
            text = "; ".join(part for part in (" ".join(above), behind) if part)
            if text or node.target.id not in found:
                found[node.target.id] = text
    return found


def _default(field: "dataclasses.Field[Any]") -> str:
    value = field.default if field.default is not dataclasses.MISSING else None
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def page() -> str:
    """The text of docs/configuration.md."""
    parts = [HEAD]
    shared = {field.name for field in dataclasses.fields(RunConfig)} - {"system"}
    first = next(iter(SYSTEMS))
    for name, system in SYSTEMS.items():
        kinds = typing.get_type_hints(system)
        if name == first:
            parts.append("\n## Of every system\n")
            parts += [_section(key, kinds[key]) for key in kinds if key in shared]
        own = [row for row in settings_of(system) if "." not in row.name and row.name != "system"]
        parts.append(f"\n## system: {name}\n\n{_doc(system)}\n{_table(own)}")
        for field in dataclasses.fields(system):
            kind = kinds[field.name]
            if field.name in shared and name != first:
                parts.append(_section(field.name, kind, typing.get_type_hints(SYSTEMS[first])[field.name]))
            elif field.name not in shared and dataclasses.is_dataclass(kind):
                parts.append(_section(field.name, typing.cast(type, kind)))
    return "".join(part for part in parts if part)


def _section(name: str, kind: type, known: type | None = None) -> str:
    """A heading and a table; of a section that another system has too, what differs."""
    rows = list(settings_of(kind, f"{name}."))
    if known is not None:
        there = {(row.name, row.default, row.text) for row in settings_of(known, f"{name}.")}
        rows = [row for row in rows if (row.name, row.default, row.text) not in there]
    if not rows:
        return ""
    title = f"{name}, where it differs" if known is not None else name
    return f"\n### {title}\n\n{_doc(kind)}\n{_table(rows)}"


def _table(rows: list[Setting]) -> str:
    body = "".join(f"| `{row.name}` | `{row.default}` | {_cell(row.text)} |\n" for row in rows)
    return f"\n| setting | default | what it is |\n|---|---|---|\n{body}" if rows else ""


def _doc(kind: type) -> str:
    return (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())
    print(PAGE)
