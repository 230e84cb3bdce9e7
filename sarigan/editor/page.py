"""The page of the editor: it lays out, and hands every action to a `Session`. Needs Gradio, which asks no other host here."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from sarigan.editing.seeds import NOISES
from sarigan.editor.markup import edits_markup, message_markup
from sarigan.editor.requests import decimal, whole
from sarigan.editor.session import Session
from sarigan.editor.tabs import classes_tab, directions_tab, files_tab, films_tab, mixing_tab, photograph_tab, sheet_tab
from sarigan.editor.wiring import OF_SEED, WIDGETS, Wiring, act, slider


class EditorPage(Wiring):
    """`build` makes the page. An action reads the page's controls, changes the session, and shows what resulted."""

    def build(self) -> gr.Blocks:
        """The page."""
        with gr.Blocks(title=f"{self.model.name}: semantic editor", analytics_enabled=False) as page:
            gr.Markdown(f"# Semantic editor\n**{self.model.name}**: {self.model.description()}")
            self.group = gr.State(self.model.first_group(self.model.first_layer()))
            with gr.Row():
                with gr.Column(scale=4, min_width=340, elem_classes="sar-left"):
                    self._picture_column()
                with gr.Column(scale=5, min_width=340), gr.Tabs():
                    self._change_tabs()
            self._wire_picture()
            self._wire_groups()
            page.load(self.acting(lambda session: None), self.choice, self.everything).then(*self.cards_event())
            page.unload(self.end_session)
        return page

    def _picture_column(self) -> None:
        config = self.model.generator.config
        self.pictures = gr.HTML(elem_classes="sar-pictures", label="Pictures")
        self.message = gr.HTML(message_markup(""), elem_classes="sar-message")
        with gr.Row():
            self.undo = gr.Button("Undo", min_width=80)
            self.redo = gr.Button("Redo", min_width=80)
            self.reset = gr.Button("Remove all", min_width=100)
        self.edits = gr.HTML(edits_markup(()), elem_classes="sar-edits", js_on_load=WIDGETS)
        with gr.Row():
            self.seed = gr.Number(0, label="Seed", precision=0, minimum=0, min_width=120)
            self.random = gr.Button("Random seed", min_width=120)
        self.truncation = slider(-1, 1.5, 0.7, step=0.05, label="Truncation psi (1: off)")
        self.noise = gr.Radio(list(NOISES), value="fixed", label="Noise", visible=self.model.has_noise)
        self.classes = gr.Dropdown(
            [OF_SEED, *config.class_names], value=OF_SEED, label="Class", visible=bool(config.class_names)
        )
        self.reload = gr.Button("Read the newest checkpoint", visible=self.model.is_run)

    def _change_tabs(self) -> None:
        layers = self.model.layers()
        with gr.Tab("Groups", id="groups", visible=self.model.has_groups):
            self.layer = gr.Dropdown(layers, value=self.model.first_layer(), label="Layer")
            self.cards = gr.HTML(elem_classes="sar-cards", js_on_load=WIDGETS)
            self.strength = slider(-1, 5, 1, step=0.05, label="Strength: h of the group, times")
            self.along = slider(-5, 5, 0, step=0.1, label="Look: z of the group, in deviations along a direction")
            self.direction = gr.Number(0, label="Direction (0 is the strongest)", precision=0, minimum=0)
            self.toward = slider(0, 1.5, 0, step=0.05, label="Toward another seed (1: there)")
            with gr.Row():
                self.toward_seed = gr.Number(1, label="Other seed", precision=0, minimum=0, min_width=110)
                self.toward_codes = gr.Radio(
                    [("z", "z"), ("h", "h"), ("both", "zh")], value="zh", label="Codes that move", min_width=160
                )
        # What a full answer needs to know of the page.
        self.choice = [self.layer, self.group, self.direction, self.toward_codes]
        self.shown = [self.pictures, self.edits, self.message, self.undo, self.redo]
        self.everything = [
            *self.shown, self.seed, self.truncation, self.noise, self.classes, self.strength, self.along, self.toward
        ]  # fmt: skip
        for tab in (classes_tab, mixing_tab, directions_tab, photograph_tab, films_tab, sheet_tab, files_tab):
            tab(self)

    def _wire_picture(self) -> None:
        self.slide(self.seed, self.seed.blur, [self.seed], set_seed)
        self.on(self.random.click, [], lambda session: session.set_random_seed())
        self.on(self.noise.input, [self.noise], Session.set_noise)
        self.on(self.classes.input, [self.classes], lambda session, name: session.set_class(None if name == OF_SEED else name))
        self.on(self.undo.click, [], Session.undo)
        self.on(self.redo.click, [], Session.redo)
        self.on(self.reset.click, [], Session.remove_all)
        self.on(self.reload.click, [], self._reload)
        self.slide(self.truncation, self.truncation.release, [self.truncation], Session.set_truncation)
        self.edits.click(self._change_list, self.choice, self.everything, show_progress="hidden").then(*self.cards_event())

    def _wire_groups(self) -> None:
        place = [self.layer, self.group]
        self.slide(self.strength, self.strength.release, [*place, self.strength], Session.scale_strength)
        self.slide(self.along, self.along.release, [*place, self.direction, self.along], move_along)
        toward = [*place, self.toward_codes, self.toward_seed, self.toward]
        self.slide(self.toward, self.toward.release, toward, move_toward)
        self.layer.input(self.model.first_group, [self.layer], [self.group]).then(
            self.acting(lambda session: None), self.choice, self.everything
        ).then(*self.cards_event())
        for control in (self.direction, self.toward_codes):
            self.on(control.input, [], lambda session: None)
        self.cards.click(self._choose, self.choice, [self.group, *self.everything], show_progress="hidden")

    def _choose(self, request: gr.Request, event: gr.EventData, *choice: Any) -> tuple[Any, ...]:
        session = self.session_of(request)
        layer, _, *rest = choice
        group = int(event._data["number"])
        with session.lock:
            session.settle()
            return (group, *self.all_shown(session, (layer, group, *rest), session.meet_model()))

    def _change_list(self, request: gr.Request, event: gr.EventData, *choice: Any) -> tuple[Any, ...]:
        session = self.session_of(request)
        entry, value = int(event._data["number"]), event._data["value"]
        actions: dict[str, Callable[[], None]] = {
            "switch": lambda: session.switch(entry, bool(value)),
            "amount": lambda: session.set_amount(entry, decimal(value, "amount")),
            "up": lambda: session.move(entry, -1),
            "down": lambda: session.move(entry, 1),
            "remove": lambda: session.remove(entry),
        }
        with session.lock:
            session.settle()
            return self.all_shown(session, choice, *act(session, lambda: actions[event._data["action"]]()))

    def _reload(self, session: Session) -> str:
        changed = self.model.reload()
        return f"{self.model.loaded.file.name} {'is read' if changed else 'is still the newest'}. {session.meet_model()}"


def move_along(session: Session, layer: str, group: int, direction: float, amount: float) -> None:
    """`Session.move_along` from the controls' values."""
    session.move_along(layer, group, whole(direction, "direction"), amount)


def move_toward(session: Session, layer: str, group: int, codes: str, seed: float, amount: float) -> None:
    """`Session.move_toward` from the controls' values."""
    session.move_toward(layer, group, codes, whole(seed, "other seed"), amount)


def set_seed(session: Session, seed: float) -> None:
    """`Session.set_seed` from the control's value."""
    session.set_seed(whole(seed, "seed"))
