"""Results as texts: digits that fit the value, and how far training was."""

from typing import Any

import pytest

from sarigan.files.run_record import RunRecord
from sarigan.visualization.report.results import measured_at, number


@pytest.mark.parametrize(
    ("value", "beside", "text"),
    [
        (0.06161234, None, "0.06161"), (-3.846e-05, 0.06161, "-0.00004"), (-3.846e-06, 0.06161, "0"), (0.5, 10, "0.5"),
        (123456.7, None, "123457"), (2.0, None, "2"),
        (-6.302e-05, None, "-0.00006302"), (3e-07, None, "3e-07"), (0, None, "0"), (0.25, 0, "0.25"),
        (float("nan"), None, ""), (None, 1.0, ""), (0.25, None, "0.25"), (100, None, "100"), (3.16, 1234, "3"),
    ],
)  # fmt: skip
def test_numbers(value: Any, beside: Any, text: str) -> None:
    assert number(value, beside) == text


def test_a_result_of_an_older_checkpoint_says_so(tmp_path: Any) -> None:
    run = RunRecord(tmp_path, {}, "", {}, [], [], [], [], seen_kimg=1.616)
    assert measured_at({"seen_kimg": 0.664}, run) == "measured at 0.664; the run is at 1.616"
    assert measured_at({"seen_kimg": 1.616}, run) == "1.616"
    assert measured_at({}, run) == measured_at({"seen_kimg": None}, run) == "-"  # of an earlier version, of a set of images
    run.seen_kimg = None
    assert measured_at({"seen_kimg": 0.664}, run) == "0.664"
