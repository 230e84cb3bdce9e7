"""What the report reads of a run: also of one that a crash cut short, and its sections."""

import json
import re
from pathlib import Path

import pytest

from sarigan.errors import InputError
from sarigan.files.run_record import read_run
from sarigan.systems.system import Curves
from sarigan.visualization.report.run_sections import curves_section, locality_section, metrics_section, samples_section

TEST = {"score": 0.4, "null_mean": 0.3, "null_deviation": 0.02, "z": 5.0, "p": 0.001, "num_null": 1000}
# The charts of losses and groups that a system may have.
CURVES = [
    Curves("Losses", {"generator": "loss/generator"}), Curves("Temperatures", {"layer": "groups/*/temperature"}),
    Curves("Groups", {"layer": "groups/*/nonempty"}),
]  # fmt: skip
CONFIG = (
    "data:\n  name: folder\ngenerator:\n  resolution: 8\n  synthesis: skip\n  grouping:\n    kind: similarity\n"
    "training:\n  seed: 0\nmetrics:\n  names: []\n"
)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(CONFIG)
    # As a run writes it: a line of metrics before the first step, then a tick's line and after it that of an evaluation.
    (tmp_path / "log.jsonl").write_text(
        '{"step": 0, "kimg": 0.0, "seconds": 0.0, "metrics/fd_efficientnet": 90.0}\n'
        '{"step": 1, "kimg": 1.0, "seconds": 5.0, "loss/generator": 2.0, "groups/8x8.up/temperature": 1.0,'
        ' "groups/8x8.up/nonempty": 4}\n'
        '{"step": 2, "kimg": 2.0, "seconds": 9.0, "loss/generator": 1.5, "groups/8x8.up/temperature": 0.5,'
        ' "groups/8x8.up/nonempty": 3}\n'
        '{"step": 2, "kimg": 2.0, "seconds": 9.0, "metrics/fd_efficientnet": 80.0}\n{"step": 3, "ki'
    )
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "000000004.png").write_bytes(b"\x89PNG cut short")
    (tmp_path / "evaluation").mkdir()
    for name, value, time in (("b", 5.0, "2026-01-01"), ("a", 4.0, "2026-01-02")):
        result = {"name": "fid", "value": value, "protocol": "tf", "num_images": 50, "time": time}
        (tmp_path / "evaluation" / f"{name}.json").write_text(json.dumps({"results": [result]}))
    (tmp_path / "analysis").mkdir()
    group = {
        "group": 2, "channels": 7, "responds_to": "hair", "iou": 0.41, "iou_test": {"null_mean": 0.2, "z": 3.0, "p": 0.01},
        "changes": "mouth", "lift": 1.5, "lift_test": None, "share_of_change": [0.2, 0.8],
    }  # fmt: skip
    record = {"layer": "8x8.up", "verdict": "More <local>.", "tests": {"part IoU": TEST}, "groups": [group],
              "parts": ["hair", "mouth"], "num_images": 64, "masks": "segmenter"}  # fmt: skip
    (tmp_path / "analysis" / "locality-8x8.up.json").write_text(json.dumps(record))
    return tmp_path


def test_reads_what_is_there(run_dir: Path) -> None:
    run = read_run(run_dir)
    assert run.series("loss/generator") == [(1.0, 2.0), (2.0, 1.5)] and run.last("loss/generator") == 1.5
    assert [result["value"] for result in run.metrics] == [4.0]  # the newest of its kind, whatever the file's name
    assert run.samples[0][0] == 4 and run.environment == {}


def test_sections_of_a_run_cut_short(run_dir: Path) -> None:
    run = read_run(run_dir)
    assert run.seen_kimg is None and ">-</td>" in metrics_section(run).body
    assert samples_section(run).body == ""
    titles = re.findall('<figure class="chart"><figcaption>(.*?)</figcaption>', curves_section(run, CURVES).body)
    assert titles == ["fd_efficientnet", "Losses", "Temperatures", "Groups"]
    assert ">4<" in metrics_section(run).body and ">5<" not in metrics_section(run).body
    body = locality_section(run).body
    assert "More &lt;local&gt;." in body and "hair 0.41" in body and "mouth 80%, hair 20%" in body and "0.3 ± 0.02" in body


def test_layers_stand_in_their_order_and_starts_are_marked(run_dir: Path) -> None:
    """8 px before 16 px, as logged; the alphabet has it the other way round."""
    line = '{"step": 4, "kimg": %d, "groups/8x8.up/temperature": 0.5, "groups/16x16.up/temperature": 0.4}\n'
    (run_dir / "log.jsonl").write_text(line % 1 + line % 4)
    (run_dir / "history.jsonl").write_text('{"start": 1, "kimg": 0}\n{"start": 2, "kimg": 2.5}\n{"start": 3, "kimg": "x"}\n')
    body = curves_section(read_run(run_dir), CURVES).body
    assert re.findall(r'<span class="(.*?)">(.*?)</span>', body) == [("r0 dashed", "8x8.up"), ("r8 dashed", "16x16.up")]
    assert re.findall(">(start .*?)<", body) == ["start 2"]


def test_what_does_not_fit_is_left_out(run_dir: Path) -> None:
    """Bytes that are no text, and values of other kinds: the rest of the page is made."""
    lines = (run_dir / "log.jsonl").read_bytes().splitlines()
    lines[1:1] = [b'{"step": 1, "kimg": 1.5, "loss/generator": "\xff"}', b'{"kimg": "x"}', b"[" * 100_000, b"5"]
    lines[1:1] = [b'{"kimg": 1.25, "loss/generator": "high", "loss/r1": 1' + b"0" * 400 + b"}"]
    (run_dir / "log.jsonl").write_bytes(b"\n".join(lines))
    for name, content in (("c", {"results": 5}), ("d", {"results": [5, None]}), ("e", [])):
        (run_dir / "evaluation" / f"{name}.json").write_text(json.dumps(content))
    run = read_run(run_dir)
    assert run.series("loss/generator") == [(1.0, 2.0), (2.0, 1.5)] and run.series("loss/r1") == []
    assert [result["value"] for result in run.metrics] == [4.0]
    assert curves_section(run, CURVES).body.count("<svg") == 4


def test_nothing_of_a_record_is_markup(run_dir: Path) -> None:
    path = run_dir / "analysis" / "locality-8x8.up.json"
    text = "<script>alert(1)</script>"
    record = json.loads(path.read_text())
    for field in ("num_images", "verdict", "masks", "layer"):
        path.write_text(json.dumps({**record, field: text}))
        body = locality_section(read_run(run_dir)).body
        assert "<script" not in body and "&lt;script&gt;" in body, field


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such run directory"):
        read_run(tmp_path / "none")
    with pytest.raises(InputError, match=r"not a run directory \(no config.yaml\)"):
        read_run(tmp_path)


@pytest.mark.parametrize("text", ["{", "", "5\n", "\0", CONFIG[:30], CONFIG[:-14]])
def test_a_torn_configuration(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=r"config.yaml: not .*, truncated or damaged \([^\n]+\)$"):
        read_run(tmp_path)
