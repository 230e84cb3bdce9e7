"""The sessions of all people that edit one model."""

import threading
from collections import OrderedDict

from sarigan.editor.model import EditedModel
from sarigan.editor.session import Session

MAX_SESSIONS = 64  # each keeps features of its picture


class Sessions:
    """A session a browser tab, by the name that the server gives the tab. The one that rested longest goes first."""

    def __init__(self, model: EditedModel, max_sessions: int = MAX_SESSIONS) -> None:
        self.model, self.max_sessions = model, max_sessions
        self._lock = threading.Lock()
        self._by_name: OrderedDict[str, Session] = OrderedDict()

    def of(self, name: str) -> Session:
        """The session of a tab, new at its first call."""
        with self._lock:
            session = self._by_name.pop(name, None) or Session(self.model)
            self._by_name[name] = session
            while len(self._by_name) > self.max_sessions:
                self._by_name.popitem(last=False)
            return session

    def end(self, name: str) -> None:
        """A tab was closed."""
        with self._lock:
            self._by_name.pop(name, None)

    def __len__(self) -> int:
        return len(self._by_name)
