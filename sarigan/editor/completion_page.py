"""The page of an inpainting model: paint a hole into a photograph, and see several completions."""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from sarigan.editor.completing import MAX_COMPLETIONS, CompletionModel, read_hole
from sarigan.editor.markup import image_markup, message_markup, picture_url, row_markup
from sarigan.editor.projecting import read_photograph, read_upload
from sarigan.editor.requests import answered, decimal, whole
from sarigan.editor.wiring import slider
from sarigan.errors import InputError
from sarigan.visualization.completion_sheet import with_holes
from sarigan.visualization.sheet import pictures


class CompletionPage:
    """`build` makes the page. Nothing is kept from one request to the next."""

    def __init__(self, model: CompletionModel) -> None:
        self.model = model

    def build(self) -> gr.Blocks:
        """The page."""
        with gr.Blocks(title=f"{self.model.name}: completions", analytics_enabled=False) as page:
            gr.Markdown(f"# Completions\n**{self.model.name}**: {self.model.description()}. The centre square is used.")
            with gr.Row():
                with gr.Column(min_width=340):
                    painted = gr.ImageEditor(
                        label="Photograph: upload it, then paint over the hole", type="filepath", format="png",
                        brush=gr.Brush(colors=["#ffffff"], color_mode="fixed"), layers=False, sources=["upload"], transforms=(),
                        buttons=[],
                    )  # fmt: skip
                with gr.Column(min_width=340):
                    seed = gr.Number(0, label="First seed", precision=0, minimum=0)
                    count = slider(1, MAX_COMPLETIONS, 4, step=1, label="Completions")
                    psi = slider(0, 1.5, 1, step=0.05, label="Truncation psi (1: off)")
                    start = gr.Button("Complete", variant="primary")
                    state = gr.HTML(message_markup(""), elem_classes="sar-message")
            made = gr.HTML(elem_classes="sar-wide sar-completions", label="Completions")
            start.click(self._complete, [painted, seed, count, psi], [made, state], api_name="complete")
        return page

    def _complete(self, painted: Mapping[str, Any] | None, seed: float, count: float, psi: float) -> tuple[str, str]:
        shown = [""]

        def run() -> None:
            layers = (painted or {}).get("layers") or []
            if not painted or painted.get("background") is None:
                raise InputError("choose a photograph first")
            if not layers:
                raise InputError("paint a hole first: the model completes what is painted over")
            image = read_photograph(read_upload(painted["background"]), self.model.resolution)
            known = read_hole(read_upload(layers[0]), self.model.resolution)
            first = whole(seed, "first seed")
            images = self.model.complete(image, known, first, whole(count, "completions"), decimal(psi, "truncation"))
            hole = picture_url(pictures(with_holes(image, known))[0])
            figures = [f'<figure><img src="{hole}" alt="the photograph with its hole"></figure>']
            for number, picture in enumerate(pictures(images), start=first):
                figures.append(image_markup(picture_url(picture), f"completion of seed {number}", f"completion-{number}.png"))
            shown[0] = row_markup(figures)

        line = message_markup(*answered(run))
        return shown[0], line
