"""How controls, sessions and what is shown are connected: every event of the page is one of the handlers made here.

A *slide* answers with the picture alone and is fast; an *action* shows all controls anew, and then the cards.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from sarigan.analysis.part_iou import PartLabel
from sarigan.editor.group_cards import group_cards
from sarigan.editor.markup import cards_markup, edits_markup, message_markup, pictures_markup
from sarigan.editor.model import EditedModel
from sarigan.editor.requests import answered, decimal
from sarigan.editor.session import Session
from sarigan.editor.sessions import Sessions
from sarigan.errors import InputError, one_line

Action = Callable[..., str | None]  # (session, values of the inputs) -> one line for the person
OF_SEED = "drawn by the seed"
WIDGETS = (Path(__file__).parent / "widgets.js").read_text()


def slider(*arguments: float, step: float, label: str) -> gr.Slider:
    """Gradio's: from, to, value. Its box may be empty, as before another number is typed: None, where Gradio's own fails."""
    component = gr.Slider(*arguments, step=step, label=label)
    preprocess = component.preprocess
    component.preprocess = lambda payload: None if payload is None else preprocess(payload)  # type: ignore
    return component


class Wiring:
    """The model, the sessions, and the controls that several parts of the page use.

    choice: what a full answer needs to know of the page: layer, group, direction, codes. shown: pictures, edits, message, undo,
    redo. everything: `shown`, and seed, truncation, noise, class and the three sliders of a group.
    """

    layer: Any
    group: Any
    cards: Any
    choice: Sequence[Any]
    shown: Sequence[Any]
    everything: Sequence[Any]

    def __init__(self, model: EditedModel) -> None:
        self.model, self.sessions = model, Sessions(model)

    def session_of(self, request: gr.Request) -> Session:
        """Of the tab that asks."""
        return self.sessions.of(request.session_hash or "")

    def on(self, listen: Callable[..., Any], inputs: Sequence[Any], action: Action) -> None:
        """An action that may change any control: the page is shown anew, then the cards."""
        shown = [self.acting(action), [*self.choice, *inputs], self.everything]
        listen(*shown, show_progress="hidden", **named(action)).then(*self.cards_event())

    def slide(self, control: Any, let_go: Callable[..., Any], inputs: Sequence[Any], action: Action) -> None:
        """While a control, the last of `inputs`, is moved, of fast movements the last one counts; then the cards follow."""
        options = {"show_progress": "hidden", "trigger_mode": "always_last", **named(action)}
        control.input(self.sliding(control.label, action), inputs, self.shown, **options)
        let_go(self.settle, None, None, show_progress="hidden").then(*self.cards_event())

    def sliding(self, label: str, action: Action) -> Callable[..., Any]:
        """(values) -> what `shown` shows. label: of the control whose value is the last one."""

        def handler(request: gr.Request, *values: Any) -> tuple[Any, ...]:
            session = self.session_of(request)
            with session.lock:
                return self._shown(session, *act(session, lambda: action(session, *values[:-1], decimal(values[-1], label))))

        return handler

    def acting(self, action: Action) -> Callable[..., Any]:
        """(values of `choice`, values) -> what `everything` shows."""

        def handler(request: gr.Request, *values: Any) -> tuple[Any, ...]:
            session = self.session_of(request)
            with session.lock:
                session.settle()
                said = act(session, lambda: action(session, *values[len(self.choice) :]))
                return self.all_shown(session, values, *said)

        return handler

    def all_shown(self, session: Session, choice: Sequence[Any], text: str = "", failed: bool = False) -> tuple[Any, ...]:
        """What `everything` shows."""
        layer, group, direction, codes = choice[: len(self.choice)]
        recipe, place = session.recipe, f"{layer} {group}"

        def amount(what: str, otherwise: float) -> float:
            found = session.amount_of(f"{place} {what}")
            return otherwise if found is None else found

        return (
            *self._shown(session, text, failed), recipe.seed, recipe.truncation, recipe.noise, recipe.class_name or OF_SEED,
            amount("h", 1.0), amount(f"z {direction}", 0.0), amount(f"{codes} toward", 0.0),
        )  # fmt: skip

    def _shown(self, session: Session, text: str, failed: bool) -> tuple[Any, ...]:
        return (
            pictures_markup(session.pictures()), edits_markup(session.recipe.entries), message_markup(one_line(text), failed),
            gr.update(interactive=session.can_undo), gr.update(interactive=session.can_redo),
        )  # fmt: skip

    def cards_event(self) -> tuple[Any, ...]:
        """Arguments of an event that draws the cards of the layer."""
        return self._draw_cards, [self.layer, self.group], [self.cards]

    def _draw_cards(self, request: gr.Request, layer: str, group: int) -> Any:
        session = self.session_of(request)
        if not self.model.has_groups:
            yield ""
            return
        labels = self.model.known_labels(layer)
        comes = labels is None and self.model.can_label
        yield self._cards_of(session, layer, group, labels, comes)
        if comes:
            yield self._cards_of(session, layer, group, self.model.labels(layer))

    def _cards_of(
        self, session: Session, layer: str, group: int, labels: dict[int, PartLabel] | None, labels_come: bool = False
    ) -> str:
        try:
            with session.lock:
                return cards_markup(group_cards(session, layer, labels), layer, group, labels_come)
        except InputError as error:
            return message_markup(str(error), is_error=True)

    def settle(self, request: gr.Request) -> None:
        """A control was let go: its next change is a step of undo of its own."""
        self.session_of(request).settle()

    def end_session(self, request: gr.Request) -> None:
        """A tab was closed."""
        self.sessions.end(request.session_hash or "")


def act(session: Session, action: Callable[[], str | None]) -> tuple[str, bool]:
    """`answered`, after the session has met new weights that another tab may have read."""
    note = session.meet_model()
    text, failed = answered(action)
    return note + text, failed


def named(action: Action) -> dict[str, Any]:
    """The name by which a program can send the event, for actions that have one."""
    if action.__name__ == "<lambda>":
        return {"api_visibility": "private"}
    return {"api_name": action.__name__}
