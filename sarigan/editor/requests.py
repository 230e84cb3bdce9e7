"""One action of one person: whatever goes wrong in it is a line for this person, and everybody else goes on."""

import logging
from collections.abc import Callable

from sarigan.errors import InputError

log = logging.getLogger(__name__)


def answered(action: Callable[[], str | None]) -> tuple[str, bool]:
    """What the action says, and whether it failed."""
    try:
        return action() or "", False
    except InputError as error:
        return str(error), True
    except Exception:  # a defect; the details are for who runs the server
        log.exception("an action of the editor failed")
        return "this failed inside the editor; the picture stays as it was, and the terminal says more", True


def decimal(value: float | None, name: str) -> float:
    """The number of a control. InputError naming the control that is empty."""
    if value is None:
        raise InputError(f"{name} must be a number, got nothing")
    return float(value)


def whole(value: float | None, name: str) -> int:
    """A number of a control as an integer. InputError naming the control."""
    if value is None or value != value or value != int(value):
        raise InputError(f"{name} must be a whole number, got {'nothing' if value is None else value}")
    return int(value)
