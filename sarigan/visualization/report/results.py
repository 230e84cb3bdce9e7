"""A result of an evaluation as texts of a table."""

import math
from typing import Any, TypeGuard

from sarigan.files.run_record import RunRecord


def number(value: Any, beside: Any = None) -> str:
    """Four digits; beside another number the decimals that it has. Empty for what is no finite number."""
    if not _is_finite(value):
        return ""
    leading = beside if _is_finite(beside) else value
    if leading is value and 0 < abs(value) < 1e-6:
        return f"{value:.4g}"
    decimals = 3 - math.floor(math.log10(abs(leading))) if leading else 4
    text = f"{value:.{max(decimals, 0)}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def measured_at(result: dict[str, Any], run: RunRecord) -> str:
    """After how many thousand images; in words where the run has gone on since. `-` where the file does not tell."""
    seen = result.get("seen_kimg")
    if not _is_finite(seen):
        return "-"
    if run.seen_kimg is None or seen >= run.seen_kimg:
        return number(seen)
    return f"measured at {number(seen)}; the run is at {number(run.seen_kimg)}"


def _is_finite(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)
