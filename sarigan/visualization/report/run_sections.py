"""The report of a run: sections made from its files alone, and the page that is written of them."""

import html
import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sarigan.data.loader import ImageDataset
from sarigan.errors import InputError
from sarigan.files.paths import replace_file
from sarigan.files.picture import BrokenPicture, opened_picture, read_picture
from sarigan.files.run_record import RunRecord
from sarigan.models.feature_networks.avatar_networks import SEGMENTER_TITLE
from sarigan.progress import duration_text, progress_bar
from sarigan.systems.system import Curves, System
from sarigan.visualization.report.charts import line_chart
from sarigan.visualization.report.data_section import data_section
from sarigan.visualization.report.page import Section, data_uri, facts, make_page, table
from sarigan.visualization.report.results import measured_at, number

MAX_BYTES = 15_000_000
MAX_FRAMES = 24
FRAME_SIDE = 768


def introduction(run: RunRecord, method: str, resolution: int) -> str:
    """Facts of the run as cards."""
    last = run.log[-1] if run.log else {}
    return facts(
        {
            "method": method,
            "data": _data(run),
            "resolution": f"{resolution} px",
            "images seen": f"{last.get('kimg', 0):,.1f} thousand",
            "training time": duration_text(last.get("seconds", 0)),
            "mean speed": f"{_mean_speed(run):.1f} images/s",
        }
    )


def _data(run: RunRecord) -> str:
    """The set by name and the end of its path; the section on the data has the whole path and the key."""
    data = run.config["data"]
    return f"{data['name']} {Path(data['path']).name}" if data.get("path") and data["name"] != "avatars" else str(data["name"])


def _mean_speed(run: RunRecord) -> float:
    """Images a second over all of the training; NaN before the first tick."""
    last = run.log[-1] if run.log else {}
    return 1000 * last.get("kimg", math.nan) / (last.get("seconds") or math.nan)


def history_section(run: RunRecord) -> Section:
    """Every start: when, by what command and code, on what, and which settings had changed."""
    rows = [
        [str(s.get("start")), str(s.get("time", "")).replace("T", " ")[:16], _kimg(s.get("kimg")), _kimg(s.get("end_kimg")),
         str(s.get("end", "")), " ".join(map(str, s.get("command") or [])), str(s.get("commit") or "")[:10],
         f"{s.get('device')} {s.get('precision')} x{s.get('processes')}", str(s.get("data_key") or ""),
         _changes(s.get("changed"))]
        for s in run.starts
    ]  # fmt: skip
    headings = ["start", "UTC", "from kimg", "to kimg", "ended", "command", "commit", "machine", "data", "changed settings"]
    body = table(headings, rows, (0, 2, 3), folds=True) if rows else ""
    return Section("history", "Starts of this run", body)


def _kimg(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else ""


def _changes(changed: Any) -> str:
    if not isinstance(changed, list):
        return ""
    return ", ".join(f"{c[0]}: {c[1]} to {c[2]}" for c in changed if isinstance(c, list) and len(c) == 3)


def curves_section(run: RunRecord, curves: Sequence[Curves] = ()) -> Section:
    """Metrics, what the system logs, and the speed."""
    logged = list(dict.fromkeys(key for line in run.log for key in line))  # layers from the first to the last
    metrics = sorted(key for key in logged if key.startswith("metrics/"))
    measured = [Curves(key.removeprefix("metrics/"), {"averaged networks": key}) for key in metrics]
    speed = Curves("Images per second", {"speed": "speed/images_per_second"})
    shown = "".join(
        line_chart(chart.title, {label: run.series(key) for label, key in _expanded(chart.keys, logged).items()},
                   log_scale=chart.log_scale, marks=_restarts(run))
        for chart in [*measured, *curves, speed]
    )  # fmt: skip
    return Section("curves", "Training curves", f'<div class="charts">{shown}</div>' if shown else "")


def _restarts(run: RunRecord) -> dict[float, str]:
    """Where the run was started again, in thousand images."""
    return {s["kimg"]: f"start {s['start']}" for s in run.starts[1:] if isinstance(s.get("kimg"), int | float)}


def _expanded(keys: dict[str, str], logged: Sequence[str]) -> dict[str, str]:
    """A key with a `*` becomes all that were logged, each under the name that stands there."""
    found: dict[str, str] = {}
    for label, key in keys.items():
        if "*" not in key:
            found[label] = key
            continue
        head, tail = key.split("*")
        found |= {
            name[len(head) : len(name) - len(tail)]: name for name in logged if name.startswith(head) and name.endswith(tail)
        }
    return found


def samples_section(run: RunRecord) -> Section:
    """Sample grids over time under a slider: the same latents and noise throughout."""
    chosen = run.samples
    if len(chosen) > MAX_FRAMES:
        chosen = [chosen[round(i * (len(chosen) - 1) / (MAX_FRAMES - 1))] for i in range(MAX_FRAMES)]
    frames = []
    for images, path in chosen:
        try:
            with opened_picture(read_picture(path)) as picture:
                uri = data_uri(picture, 82, FRAME_SIDE)
        except (BrokenPicture, OSError):  # a grid that a crash left unfinished
            continue
        label = f"{images / 1000:,.1f} thousand images"
        frames.append({"picture": uri, "label": label, "alt": f"Grid of generated images after {label} of training"})
    if not frames:
        return Section("samples", "Samples over time", "")
    last = frames[-1]
    data = json.dumps(frames).replace("<", "\\u003c")
    body = (
        "<p>The same latents and noise throughout, averaged weights, no truncation, not selected.</p>"
        f'<div class="slider"><img src="{last["picture"]}" alt="{html.escape(last["alt"], quote=True)}">'
        f'<label for="time">training time<output>{last["label"]}</output></label>'
        f'<input id="time" type="range" min="0" max="{len(frames) - 1}" value="{len(frames) - 1}" step="1">'
        f'<script type="application/json">{data}</script></div>'
    )
    return Section("samples", "Samples over time", body)


def metrics_section(run: RunRecord) -> Section:
    """The newest results of every metric, as they were written."""
    if not run.metrics:
        command = f"python scripts/evaluate.py --checkpoint {run.folder}"
        return Section("metrics", "Metrics", f"<p>None measured yet: <code>{html.escape(command)}</code>.</p>")
    rows = [
        [str(r.get("name")), number(r.get("value")), number(r.get("spread"), r.get("value")),
         number(r.get("null"), r.get("value")), measured_at(r, run), str(r.get("num_images", "")),
         str(r.get("data") or ""), str(r.get("protocol") or "")]
        for r in run.metrics
    ]  # fmt: skip
    headings = ["metric", "value", "spread", "chance", "after thousand images", "images", "data", "protocol"]
    return Section("metrics", "Metrics", table(headings, rows, (1, 2, 3, 5), folds=True))


def locality_section(run: RunRecord) -> Section:
    """Whether groups are more local than chance, layer by layer, with the null beside every number."""
    bodies = []
    for record in run.locality:
        tests = [
            [name, number(t["score"]), f"{number(t['null_mean'], t['score'])} ± {number(t['null_deviation'], t['score'])}",
             f"{t['z']:+.1f}", f"{t['p']:.3f}"]
            for name, t in record["tests"].items()
        ]  # fmt: skip
        groups = [
            [f"{g['group']} ({g['channels']} ch)", f"{g['responds_to']} {g['iou']:.2f}", _test(g["iou_test"]),
             f"{g['changes']} {g['lift']:.2f}", _test(g["lift_test"]),
             ", ".join(f"{part} {share:.0%}" for part, share in _largest(record["parts"], g["share_of_change"]))]
            for g in record["groups"]
        ]  # fmt: skip
        counts = sorted({t["num_null"] for t in record["tests"].values()})
        least = ", ".join(f"{1 / (1 + count):.3f} with {count}" for count in counts)
        psi = f" at psi {record['psi']:g}" if "psi" in record else ""
        headings = ["group", "responds to (IoU)", "z, p", "an edit of h changes (lift)", "z, p", "its change falls on"]
        bodies.append(
            f"<h3>{html.escape(record['layer'])}</h3>{_verdict(record, run.config['data']['name'])}"
            + table(["score", "groups", "random groups", "z", "p"], tests, (1, 2, 3, 4))
            + f"<details><summary>every group</summary>{table(headings, groups)}</details>"
            + f'<p class="soft">Over {html.escape(str(record["num_images"]))} images{psi};'
            f" parts by the {html.escape(record['masks'])}. The least p that random groupings can give: {least}.</p>"
        )
    return Section("locality", "Are the groups local?", "".join(bodies))


def _verdict(record: dict[str, Any], trained_on: str) -> str:
    """The verdict of a locality record, with what speaks against it where the wrong network named the parts."""
    if not record["masks"].startswith(SEGMENTER_TITLE) or trained_on == "avatars":
        return f"<p><strong>{html.escape(record['verdict'])}</strong></p>"
    doubt = f"No verdict: the {SEGMENTER_TITLE} named the parts, and this model was trained on {trained_on}, not on avatars."
    advice = "Masks of its own images (semantics --parts FILE.npz) would tell."
    return f"<p><strong>{html.escape(doubt)}</strong> {advice}</p>"


def configuration_section(run: RunRecord) -> Section:
    """config.yaml and environment.json."""
    environment = html.escape(json.dumps(run.environment, indent=2))
    return Section(
        "configuration",
        "Configuration and environment",
        f"<details><summary>config.yaml</summary><pre>{html.escape(run.config_text)}</pre></details>"
        f"<details><summary>environment</summary><pre>{environment}</pre></details>",
    )


def _largest(parts: list[str], shares: list[float], count: int = 3) -> list[tuple[str, float]]:
    return sorted(zip(parts, shares, strict=True), key=lambda item: -item[1])[:count]


def _test(test: dict[str, float] | None) -> str:
    return "" if test is None else f"{test['z']:+.1f}, {test['p']:.3f}"


def write_report(
    run: RunRecord, method: str, resolution: int, system: System, checkpoint: str, path: Path,
    opened_data: Callable[[], ImageDataset] | None = None,
) -> int:  # fmt: skip
    """Write the page, whole or not at all; returns its bytes. opened_data: as in `data_section`, which None leaves out."""
    makers: list[Callable[[], Section]] = [
        lambda: samples_section(run),
        lambda: curves_section(run, system.report_curves()),
        lambda: metrics_section(run),
        lambda: locality_section(run),
        *([partial(data_section, run, opened_data, system)] if opened_data is not None else []),
        *system.report_sections(),
        lambda: history_section(run),
        lambda: configuration_section(run),
    ]
    sections: list[Section] = [make() for make in progress_bar(makers, desc="report", unit="section")]
    footer = f"{checkpoint}; figures with averaged weights."
    name = run.folder.resolve().name
    page = make_page(f"Run {name}", introduction(run, method, resolution), sections, footer).encode()
    if len(page) > MAX_BYTES:
        raise InputError(f"{path}: the page would have {len(page) / 1e6:.1f} MB, at most {MAX_BYTES / 1e6:g} MB are right")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, lambda file: file.write(page))
    except OSError as error:
        raise InputError(f"{path}: cannot write the page ({error.strerror})") from None
    return len(page)
