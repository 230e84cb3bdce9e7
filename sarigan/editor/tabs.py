"""The tabs beside that of the groups: classes, mixing, directions, photograph, film, sheet of seeds, files."""

import threading
from collections.abc import Callable
from typing import Any

import gradio as gr

from sarigan.analysis.channel_effects import channel_use
from sarigan.editing.group_editing import HALVES
from sarigan.editor.films import MAX_SHEET_CLASSES, classes_sheet, film, from_class, from_kept, seeds_sheet, strip
from sarigan.editor.markup import command_markup, data_url, download_markup, image_markup, message_markup, picture_url
from sarigan.editor.projecting import Cancelled, project_photograph, read_upload
from sarigan.editor.requests import answered, decimal, whole
from sarigan.editor.saving import EDITS_NAME, LATENTS_NAME, command_line, edit_file, latents_file, load_edit_file, png_bytes
from sarigan.editor.session import Session
from sarigan.editor.wiring import WIDGETS, Wiring, slider

ALL_LAYERS = "all layers"
NUM_CHANNELS = 8  # that are named as most used


def classes_tab(page: Wiring) -> None:
    """The way from one class to another, and the present picture in all classes. Nothing for a model without classes."""
    names = page.model.class_names
    if not names:
        return
    with gr.Tab("Classes", id="classes"):
        gr.Markdown("The present seed and edits in other classes. The picture's own class: *Class*, below the seed.")
        with gr.Row():
            first = gr.Dropdown(names, value=names[0], label="From class", min_width=140)
            last = gr.Dropdown(names, value=names[-1], label="To class", min_width=140)
        count = slider(3, 16, 8, step=1, label="Pictures from class to class")
        with gr.Row():
            way, film_button, every = gr.Button("Way as a strip"), gr.Button("Way as a GIF"), gr.Button("All classes")
        state = gr.HTML(message_markup(""), elem_classes="sar-message")
        result = gr.HTML(elem_classes="sar-wide sar-downloads", label="Classes")

    def class_strip(session: Session, first: str, last: str, count: float) -> tuple[str, str]:
        picture = strip(session, from_class(session, first, last), whole(count, "pictures"))
        return image_markup(picture_url(picture), f"the way from {first} to {last}", "classes.png"), ""

    def class_film(session: Session, first: str, last: str, count: float) -> tuple[str, str]:
        content = film(session, from_class(session, first, last), ".gif", 4 * whole(count, "pictures"))
        return image_markup(data_url(content, "image/gif"), f"the way from {first} to {last} and back", "classes.gif"), ""

    def all_classes(session: Session) -> tuple[str, str]:
        line = f"The first {MAX_SHEET_CLASSES} of {len(names)} classes." if len(names) > MAX_SHEET_CLASSES else ""
        return image_markup(picture_url(classes_sheet(session)), "the picture in every class", "all_classes.png"), line

    outputs = [result, state]
    way.click(making(page, class_strip), [first, last, count], outputs)
    film_button.click(making(page, class_film), [first, last, count], outputs)
    every.click(making(page, all_classes), None, outputs)


def mixing_tab(page: Wiring) -> None:
    """Style mixing by layers and by halves; by groups it is the slider toward another seed."""
    ranges = page.model.ranges()
    with gr.Tab("Mix", id="mix"):
        gr.Markdown("Part of the picture's control comes from a second seed. A single group: slider *Toward another seed*.")
        seed = gr.Number(1, label="Second seed", precision=0, minimum=0)
        amount = slider(0, 1, 1, step=0.05, label="How far toward it")
        layers = gr.Radio(ranges, value=ranges[0], label="Layers")
        mix_layers = gr.Button("Mix these layers")
        half = gr.Radio([("h, strength of groups", "h"), ("z, look of groups", "z")], value=HALVES[0], label="Half of w",
                        visible=page.model.has_groups)  # fmt: skip
        mix_half = gr.Button("Mix this half in all layers", visible=page.model.has_groups)
    page.on(mix_layers.click, [seed, layers, amount], lambda session, seed, layers, amount:
            session.mix_layers(whole(seed, "second seed"), layers, decimal(amount, "how far")))  # fmt: skip
    page.on(mix_half.click, [seed, half, amount], lambda session, seed, half, amount:
            session.mix_half(whole(seed, "second seed"), half, decimal(amount, "how far")))  # fmt: skip


def directions_tab(page: Wiring) -> None:
    """What needs no groups: directions of w in closed form, and single channels of a style."""
    channels = page.model.generator.synthesis.num_channels()
    if not channels:
        return
    has_directions, has_use = page.model.has_directions, page.model.has_channel_use
    middle = [*channels][len(channels) // 2]
    with gr.Tab("Directions" if has_directions else "Channels", id="directions"):
        with gr.Column(visible=has_directions):
            gr.Markdown("Directions of w in closed form (SeFa), and single entries of a layer's style vector (StyleSpace).")
            layer = gr.Dropdown([ALL_LAYERS, *channels], value=ALL_LAYERS, label="Layers that move")
            number = gr.Number(0, label="Direction of w (0 is the strongest)", precision=0, minimum=0)
            amount = slider(-6, 6, 0, step=0.1, label="Along it, in deviations of w")
        channel_layer = gr.Dropdown(list(channels), value=middle, label="Layer of the channel")
        channel = gr.Number(0, label="Channel", precision=0, minimum=0)
        shift = slider(-10, 10, 0, step=0.1, label=f"Added to the channel's {'gain' if has_use else 'style'}")
        use = gr.Button("Which channels does this picture use most?", visible=has_use)
        found = gr.HTML(message_markup(""), elem_classes="sar-message")

    def move(session: Session, layer: str, number: float, amount: float) -> None:
        session.move_direction(whole(number, "direction"), amount, None if layer == ALL_LAYERS else (layer,))

    def shift_channel(session: Session, layer: str, channel: float, amount: float) -> None:
        session.shift_channel(layer, whole(channel, "channel"), amount)

    def most_used(session: Session, layer: str) -> tuple[str, ...]:
        used = channel_use(session.codes(layer))[:NUM_CHANNELS]
        names = ", ".join(f"{channel} ({value:.2f})" for channel, value in used)
        return (f"{layer}, mean after ReLU in closed form: channel {names}",)

    page.slide(amount, amount.release, [layer, number, amount], move)
    page.slide(shift, shift.release, [channel_layer, channel, shift], shift_channel)
    use.click(making(page, most_used, 1), [channel_layer], [found])


def photograph_tab(page: Wiring) -> None:
    """Projection, which runs beside the other actions and can be cancelled."""
    cancels: dict[str, threading.Event] = {}
    spaces = [("one w", "w"), ("a w for each layer", "w+")]
    spaces += [("and the codes of all groups", "codes")] if page.model.has_groups else []
    with gr.Tab("Photograph", id="photograph"):
        gr.Markdown("Finds the model's picture that is nearest to a photograph; its centre square is used. Then edit it.")
        photograph = gr.File(label="Photograph (PNG, JPEG, WebP, at most 24 MB)", type="filepath")
        space = gr.Radio(spaces, value="w+", label="What is searched")
        steps = slider(10, 500, 100, step=10, label="Steps in each space")
        with gr.Row():
            start = gr.Button("Project", variant="primary")
            stop = gr.Button("Cancel")
        state = gr.HTML(message_markup(""), elem_classes="sar-message")

    def search(request: gr.Request, path: str | None, space: str, steps: float, progress: gr.Progress = gr.Progress()) -> Any:  # noqa: B008
        session, name = page.session_of(request), request.session_hash or ""
        cancel = cancels[name] = threading.Event()

        def find() -> str:
            upload = read_upload(path)
            progress(0, desc="starting")
            try:
                found = project_photograph(
                    page.model, upload, space, whole(steps, "steps"), lambda done, total: progress((done, total), unit="steps"),
                    cancel,
                )  # fmt: skip
            except Cancelled:
                return "Cancelled; the picture stays as it was."
            with session.lock:
                session.settle()
                session.set_projection(found.latents, found.edits)
            return f"Found {upload.name}. The list of edits acts on it; a seed brings pictures of seeds back."

        answer = message_markup(*answered(find))
        cancels.pop(name, None)
        return answer

    def give_up(request: gr.Request) -> None:
        if (cancel := cancels.get(request.session_hash or "")) is not None:
            cancel.set()

    found = start.click(search, [photograph, space, steps], [state], concurrency_limit=2)
    found.then(page.acting(lambda session: None), page.choice, page.everything).then(*page.cards_event())
    stop.click(give_up, None, None, queue=False)


def films_tab(page: Wiring) -> None:
    """The way from a kept state to the present one."""
    with gr.Tab("Film", id="film"):
        gr.Markdown("Keep the present state, change the picture, then see the way from there to here.")
        keep = gr.Button("Keep this state as the start")
        count = slider(4, 60, 16, step=1, label="Pictures from the first state to the last")
        with gr.Row():
            show, gif, mp4 = gr.Button("Strip"), gr.Button("GIF"), gr.Button("MP4")
        state = gr.HTML(message_markup(""), elem_classes="sar-message")
        result = gr.HTML(elem_classes="sar-wide sar-downloads", label="Film")

    def keep_state(session: Session) -> tuple[str, str]:
        session.kept = session.recipe
        return "", "This state is kept as the start."

    def make_gif(session: Session, count: float) -> tuple[str, str]:
        content = film(session, from_kept(session), ".gif", whole(count, "pictures"))
        return image_markup(data_url(content, "image/gif"), "the way from the kept state and back", "film.gif"), ""

    def make_strip(session: Session, count: float) -> tuple[str, str]:
        url = picture_url(strip(session, from_kept(session), min(whole(count, "pictures"), 16)))
        return image_markup(url, "the way from the kept state to this one", "strip.png"), ""

    def make_mp4(session: Session, count: float) -> tuple[str, str]:
        return download_markup(
            [("film.mp4", film(session, from_kept(session), ".mp4", whole(count, "pictures")), "video/mp4")]
        ), ""

    outputs = [result, state]
    keep.click(making(page, keep_state), None, outputs)
    for button, make in ((show, make_strip), (gif, make_gif), (mp4, make_mp4)):
        button.click(making(page, make), [count], outputs)


def sheet_tab(page: Wiring) -> None:
    """The present edits on other seeds."""
    with gr.Tab("Sheet", id="sheet"):
        gr.Markdown("The present edits on 16 seeds: each row as it is, and below it edited.")
        first = gr.Number(0, label="First seed", precision=0, minimum=0)
        make = gr.Button("Make the sheet")
        state = gr.HTML(message_markup(""), elem_classes="sar-message")
        result = gr.HTML(elem_classes="sar-wide", label="Sheet")

    def sheet(session: Session, seed: float) -> tuple[str, str]:
        url = picture_url(seeds_sheet(session, whole(seed, "first seed")))
        return image_markup(url, "16 seeds, each as it is and edited", "sheet.png"), ""

    make.click(making(page, sheet), [first], [result, state])


def files_tab(page: Wiring) -> None:
    """What can be saved and loaded."""
    with gr.Tab("Save and load", id="files"):
        make = gr.Button("Make the files of this picture")
        links = gr.HTML(elem_classes="sar-downloads", label="Files")
        line = gr.HTML(elem_classes="sar-command", js_on_load=WIDGETS, label="Command")
        state = gr.HTML(message_markup(""), elem_classes="sar-message")
        upload = gr.File(label="An edit file (JSON), saved here or by edit_groups --save", type="filepath")

    def files(session: Session) -> tuple[str, str, str]:
        command = command_line(session)
        found = [("edited.png", png_bytes(session.pictures().edited), "image/png"),
                 (EDITS_NAME, edit_file(session), "application/json")]  # fmt: skip
        if LATENTS_NAME in command:
            found.append((LATENTS_NAME, latents_file(session), "application/octet-stream"))
        return download_markup(found), command_markup(command), ""

    def load_edits(session: Session, path: str | None) -> str:
        found = read_upload(path)
        load_edit_file(session, found.name, found.content)
        return f"Loaded {found.name}."

    make.click(making(page, files, 3), None, [links, line, state])
    page.on(upload.upload, [upload], load_edits)


def making(page: Wiring, make: Callable[..., tuple[str, ...]], num_outputs: int = 2) -> Callable[..., Any]:
    """A handler that shows what `make` returns, whose last value is a line for the person."""

    def handler(request: gr.Request, *values: Any) -> tuple[str, ...]:
        session, made = page.session_of(request), [""] * num_outputs

        def run() -> str:
            with session.lock:
                made[:] = make(session, *values)
            return made[-1]

        line = message_markup(*answered(run))
        return (*made[:-1], line)

    return handler
