"""How long the page of the shipped model takes from a movement of a slider until the new picture is painted.

Measured in the page itself, only when asked for, on a machine that does nothing else:

    SARIGAN_LATENCY=1 python -m pytest -s tests/editor/test_latency.py

In place of 1 it takes a run, an export or a file. Prints medians and maxima beside the targets: on 2 cores, 150 ms for an
edit of a 32x32 layer of the shipped model and 400 ms for any edit. None is asserted: that would be about the machine, not
about the code.
"""

import itertools
import os
from collections.abc import Iterator
from statistics import median
from typing import Any

import pytest
import torch

pytest.importorskip("gradio", reason='the editor needs Gradio: pip install -e ".[editor]"')
playwright = pytest.importorskip("playwright.sync_api", reason="the browser is driven by Playwright: pip install playwright")

from browser_tab import PATIENCE, Tab, free_port  # noqa: E402

from sarigan.editor.server import Address, open_model, served  # noqa: E402
from sarigan.exporting.shipped import SHIPPED  # noqa: E402

REPEATS = int(os.environ.get("SARIGAN_LATENCY_REPEATS", "20"))
TARGETS = {"32x32.conv": 150, "32x32.up": 150}  # milliseconds; 400 for any other edit

# Milliseconds from the slider's event until the frame in which the edited picture, another one than before, has been decoded.
# null where none came within the limit: Gradio may put a slider back to its first value while a layer opens.
MEASURE = """async ([label, value, limit]) => {
  const slider = [...document.querySelectorAll('input[type=range]')].find((part) => part.ariaLabel?.includes(label));
  const shown = () => document.querySelectorAll('.sar-pictures img')[1];
  const before = shown().src;
  const setter = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set;
  const start = performance.now();
  setter.call(slider, String(value));
  slider.dispatchEvent(new Event('input', { bubbles: true }));
  const came = await new Promise((resolve) => {
    const look = new MutationObserver(() => { if (shown()?.src !== before) { look.disconnect(); resolve(true); } });
    look.observe(document.querySelector('.sar-pictures'), { subtree: true, childList: true, attributes: true });
    setTimeout(() => { look.disconnect(); resolve(false); }, limit);
  });
  if (!came) return null;
  await shown().decode();
  await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
  return performance.now() - start;
}"""


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    yield
    torch.set_num_threads(before)


@pytest.mark.skipif("SARIGAN_LATENCY" not in os.environ, reason="measures time: SARIGAN_LATENCY=1, on a quiet machine")
def test_latency_of_edits_in_the_page(browser: Any, two_threads: None) -> None:
    asked = os.environ["SARIGAN_LATENCY"]
    source = next(iter(SHIPPED)) if asked == "1" else asked
    model = open_model(source)
    with served(model, Address(port=free_port())) as url, browser.new_context() as context:
        tab = Tab(context.new_page(), url)
        tab.listen()
        tab.page.goto(url)
        tab.page.wait_for_selector(".sar-cards button")
        print(f"\n{source}, {torch.get_num_threads()} threads, {REPEATS} edits each: median and maximum, target")
        for layer in reversed(model.layers()):
            tab.page.get_by_label("Layer", exact=True).first.click()
            tab.page.get_by_role("option", name=layer, exact=True).click()
            tab.page.locator(f".sar-cards [aria-label='Groups of layer {layer}']").wait_for()
            cards = tab.page.locator(".sar-cards").first
            playwright.expect(cards).not_to_contain_text("matching parts")  # which takes seconds of its own
            report(layer, tab, "Strength", [1.5, 3.0], TARGETS.get(layer, 400))
        report("truncation of all layers", tab, "Truncation", [0.3, 0.9], 400)
        assert tab.complaints == []


def report(what: str, tab: Tab, label: str, values: list[float], target: int) -> None:
    """One line; the first two edits, which fill the caches, do not count."""
    tries = (tab.page.evaluate(MEASURE, [label, values[index % len(values)], PATIENCE / 6]) for index in range(2 * REPEATS + 9))
    times = [*itertools.islice((time for time in tries if time is not None), REPEATS + 2)][2:]
    assert len(times) == REPEATS, f"{what}: the slider does not change the picture"
    print(f"  {what:26} {median(times):6.0f} {max(times):6.0f}  ({target}) ms")
