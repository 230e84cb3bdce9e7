"""The page of a layout model: paint a layout with the brush of a class, and see it as pictures in several styles."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from sarigan.editing.seeds import parse_seeds
from sarigan.editor.markup import command_markup, data_url, download_markup, image_markup, message_markup, row_markup
from sarigan.editor.painting import LAYOUT_NAME, LayoutModel
from sarigan.editor.projecting import read_upload
from sarigan.editor.requests import answered, whole
from sarigan.editor.saving import png_bytes
from sarigan.editor.wiring import WIDGETS

BRUSH = (Path(__file__).parent / "brush.js").read_text()


class LayoutPage:
    """`build` makes the page. Nothing is kept from one request to the next: the browser holds the layout."""

    def __init__(self, model: LayoutModel) -> None:
        self.model = model

    def build(self) -> gr.Blocks:
        """The page."""
        model, (height, width) = self.model, self.model.size
        with gr.Blocks(title=f"{model.name}: layouts", analytics_enabled=False) as page:
            gr.Markdown(f"# Images of layouts\n**{model.name}**: {model.description()}.")
            with gr.Row():
                with gr.Column(min_width=340):
                    layout = gr.HTML(
                        model.packed(model.first_layout()), html_template='<div class="brush"></div>', js_on_load=BRUSH,
                        elem_classes="sar-brush", label="Layout",
                        width=width, height=height, classes=[[part.name, part.color] for part in model.classes],
                    )  # fmt: skip
                    with gr.Row(visible=bool(model.num_avatars)):
                        number = gr.Number(
                            0, label=f"Avatar, 0 to {model.num_avatars - 1}", precision=0, minimum=0, min_width=120
                        )
                        take = gr.Button("Take its layout", min_width=120)
                    upload = gr.File(label="A layout from a file (PNG)", type="filepath", height=140)
                with gr.Column(min_width=340):
                    state = gr.HTML(message_markup(""), elem_classes="sar-message")
                    made = gr.HTML(elem_classes="sar-wide sar-completions", label="Pictures")
                    seeds = gr.Textbox("0-3" if model.draws_styles else "0", label="Styles of seeds, such as 0-3 or 1,5",
                                       visible=model.draws_styles)  # fmt: skip
                    by_region = gr.Checkbox(label="Other noise for every class", visible=model.takes_region_noise)
                    references = gr.File(label="Styles of pictures", type="filepath", file_count="multiple", height=140,
                                         visible=model.takes_references)  # fmt: skip
                    start = gr.Button("Make pictures", variant="primary")
                    files = gr.HTML(elem_classes="sar-downloads", label="Files")
                    line = gr.HTML(elem_classes="sar-command", js_on_load=WIDGETS, label="Command")
            inputs, shown = [layout, seeds, references, by_region], [made, files, line, state]
            painted = {"show_progress": "hidden", "trigger_mode": "always_last"}
            page.load(self._make, inputs, shown, api_visibility="private")
            layout.input(self._make, inputs, shown, api_visibility="private", **painted)
            start.click(self._make, inputs, shown, api_name="make")
            for listen in (by_region.input, references.change, seeds.submit):
                listen(self._make, inputs, shown, api_visibility="private", **painted)
            for listen, source, read in (
                (take.click, number, lambda value: model.of_avatar(whole(value, "avatar"))),
                (upload.upload, upload, lambda path: model.of_upload(read_upload(path))),
            ):
                listen(self._starting(read), [source, *inputs[1:]], [layout, *shown], api_visibility="private")
        return page

    def _make(self, packed: Any, *styles: Any) -> tuple[Any, ...]:
        made: list[Any] = [gr.skip()] * 3  # what is shown stays when the new pictures cannot be made

        def run() -> None:
            made[:] = self._pictures(self.model.unpacked(packed), *styles)

        line = message_markup(*answered(run))
        return (*made, line)

    def _starting(self, read: Callable[[Any], np.ndarray]) -> Callable[..., tuple[Any, ...]]:
        """A handler (what names a layout, styles) -> the layout for the brush, and what `_make` gives."""

        def handler(named: Any, *styles: Any) -> tuple[Any, ...]:
            found: list[Any] = [gr.skip()] * 4

            def run() -> None:
                layout = read(named)
                found[0] = self.model.packed(layout)
                found[1:] = self._pictures(layout, *styles)

            line = message_markup(*answered(run))
            return (*found, line)

        return handler

    def _pictures(self, layout: np.ndarray, seeds: str, references: Sequence[str] | None, by_region: bool) -> list[str]:
        """Pictures, files and command."""
        uploads = [read_upload(path) for path in references or ()]
        text = (seeds or "").strip()
        images = self.model.images(layout, parse_seeds(text) if text else [], uploads, by_region)
        stem = Path(LAYOUT_NAME).stem
        cells = [
            image_markup(data_url(png_bytes(image), "image/png"), f"the layout in the style of {name}", f"{stem}-{name}.png")
            for name, image in images.items()
        ]
        return [
            row_markup(cells),
            download_markup([(LAYOUT_NAME, self.model.layout_file(layout), "image/png")]),
            command_markup(self.model.command_line(text, uploads, by_region)),
        ]
