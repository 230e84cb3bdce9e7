"""Labels and attributes that come with a source: dataset.json (as NVIDIA's tools write it) or a CSV file."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from sarigan.errors import InputError
from sarigan.files.reading import reading

LABEL_COLUMN = "label"
JSON_NAME = "dataset.json"
MAX_LABELS = 1_000_000


class AttributeTable:
    """File name -> label and attributes, as `rows`; their names and kinds. InputError naming the file and the row.

    dataset.json is {"labels": [[file, label], ...]}, a label being a number from 0 or a list of numbers, or
    {file: {attribute: value}}. A CSV file has the file name in its first column, one row a file; a column `label` is the
    label, by name. Empty cells are unknown values.
    """

    def __init__(self, data: bytes, where: str) -> None:
        self.where = where
        self.label_names: list[str] | None = None
        self.attributes: dict[str, str] = {}
        with reading(where, "attribute table"):
            text = data.decode("utf-8-sig")
            self.rows = self._from_json(text) if where.endswith(".json") else self._from_csv(text)

    def _from_json(self, text: str) -> list[tuple[str, int | None, dict[str, Any] | None]]:
        values = json.loads(text)
        if isinstance(values, dict) and set(values) == {"labels"}:
            return [*self._labels(values["labels"] or [])]
        if not isinstance(values, dict) or not all(isinstance(row, dict) for row in values.values()):
            raise InputError(f'{self.where}: must be {{"labels": [[file, label], ...]}} or {{file: {{attribute: value}}}}')
        for row in values.values():
            for column, value in row.items():
                kind = type(value).__name__
                if value is not None and self.attributes.setdefault(column, kind) != kind:
                    self.attributes[column] = "float" if {kind, self.attributes[column]} <= {"int", "float"} else "str"
        return [(name, None, row) for name, row in values.items()]

    def _labels(self, pairs: Any) -> Iterator[tuple[str, int | None, dict[str, Any] | None]]:
        highest = -1
        for number, pair in enumerate(pairs):
            match pair:
                case [str(name), int(label)] if 0 <= label < MAX_LABELS:
                    highest = max(highest, label)
                    yield name, label, None
                case [str(name), list(vector)]:
                    self.attributes = {LABEL_COLUMN: "list"}
                    yield name, None, {LABEL_COLUMN: vector}
                case _:
                    found = str(pair)[:80]
                    raise InputError(f"{self.where}: labels[{number}] must be [file, number from 0 or list], got {found}")
        if highest >= 0:
            self.label_names = [str(label) for label in range(highest + 1)]

    def _from_csv(self, text: str) -> list[tuple[str, int | None, dict[str, Any] | None]]:
        rows = [*csv.reader(io.StringIO(text))]
        if len(rows) < 2 or len(rows[0]) < 2:
            raise InputError(f"{self.where}: must have a line of column names, the file's first, and a line a file")
        columns = rows[0][1:]
        for number, row in enumerate(rows[1:], start=2):
            if len(row) != len(rows[0]):
                raise InputError(f"{self.where}: line {number} has {len(row)} cells, the first has {len(rows[0])}")
        parsed = {}
        for index, column in enumerate(columns, start=1):
            parsed[column], kind = _parse_column([row[index] for row in rows[1:]], as_text=column == LABEL_COLUMN)
            if column != LABEL_COLUMN:
                self.attributes[column] = kind
        labels = parsed.pop(LABEL_COLUMN, None)
        numbers = {}
        if labels is not None:
            self.label_names = sorted({label for label in labels if label is not None})
            numbers = {name: number for number, name in enumerate(self.label_names)}
        return [
            (
                row[0],
                numbers.get(labels[i]) if labels else None,
                {column: values[i] for column, values in parsed.items()} or None,
            )
            for i, row in enumerate(rows[1:])
        ]


def _parse_column(cells: list[str], as_text: bool) -> tuple[list[Any], str]:
    """Values and their common kind: int, float or str; None for an empty cell."""
    filled = [cell for cell in cells if cell.strip()]
    for kind in () if as_text else (int, float):
        try:
            for cell in filled:
                kind(cell)
        except ValueError:
            continue
        return [kind(cell) if cell.strip() else None for cell in cells], kind.__name__
    return [cell if cell.strip() else None for cell in cells], "str"
