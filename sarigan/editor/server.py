"""Serves the page: on the loopback interface, or elsewhere behind a password. Nothing is asked of other hosts."""

import importlib.util
import ipaddress
import logging
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sarigan.editor.completing import CompletionModel
from sarigan.editor.model import EditedModel
from sarigan.editor.painting import LayoutModel
from sarigan.editor.projecting import MAX_UPLOAD_BYTES
from sarigan.errors import InputError
from sarigan.pretrained import system_of

PASSWORD_VARIABLE = "SARIGAN_EDITOR_PASSWORD"
USER = "sarigan"
MIN_PASSWORD = 8
Model = EditedModel | CompletionModel | LayoutModel
# By the name of a system; of all others the generator is edited.
MODELS: dict[str, Callable[[str, str | torch.device], Model]] = {
    "inpainting": CompletionModel, "two_stage_inpainting": CompletionModel, "semantic_layout": LayoutModel,
}  # fmt: skip


@dataclass(frozen=True)
class Address:
    """Where the page is served. InputError for an address of others without a password, and for a port that is no port."""

    host: str = "127.0.0.1"
    port: int = 7860
    password: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.port <= 65_535:
            raise InputError(f"--port must be 1 to 65535, got {self.port}")
        if not self.is_loopback and len(self.password or "") < MIN_PASSWORD:
            raise InputError(
                f"--host {self.host} can be reached by others: set a password of at least {MIN_PASSWORD} letters in the"
                f" variable {PASSWORD_VARIABLE} (the user is {USER!r}), or leave --host out"
            )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def check_free(self) -> None:
        """InputError for a port that is in use, and for an address that is not this machine's."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            with socket.socket(family) as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tried.bind((self.host, self.port))
        except OSError as error:
            raise InputError(
                f"{self.host}:{self.port} cannot be used ({error.strerror or error}); another port: --port {self.port + 1}"
            ) from None


def require_gradio() -> None:
    """InputError naming the extra when Gradio is not installed."""
    if importlib.util.find_spec("gradio") is None:
        raise InputError('the editor needs Gradio: pip install "sarigan[editor]", in a checkout pip install -e ".[editor]"')


def open_model(source: str, device: str | torch.device = "cpu") -> Model:
    """The model of a source, by the system that it is of. InputError when there is none to read, or none that can be edited."""
    return MODELS.get(system_of(source), EditedModel)(source, device)


def _page(model: Model) -> Any:
    """The page of the model, `gradio.Blocks`."""
    from sarigan.editor.completion_page import CompletionPage
    from sarigan.editor.layout_page import LayoutPage
    from sarigan.editor.page import EditorPage

    pages: dict[type, Any] = {EditedModel: EditorPage, CompletionModel: CompletionPage, LayoutModel: LayoutPage}
    return pages[type(model)](model).build()


@contextmanager
def served(model: Model, address: Address) -> Iterator[str]:
    """The page while the block runs; gives its URL. InputError as `require_gradio` and `Address.check_free`."""
    require_gradio()
    address.check_free()
    with tempfile.TemporaryDirectory(prefix="sarigan-editor-") as folder:
        # Read by Gradio when it is imported: no measuring of use, no look for a newer version, uploads into our folder alone.
        os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_OFFLINE="1", GRADIO_TEMP_DIR=folder, GRADIO_SHARE="False")
        logging.getLogger("httpx").setLevel(logging.WARNING)
        import gradio as gr

        page = _page(model)
        page.queue(default_concurrency_limit=4)
        try:
            _, url, _ = page.launch(
                server_name=address.host, server_port=address.port, share=False, inbrowser=False, quiet=True,
                prevent_thread_lock=True, max_file_size=MAX_UPLOAD_BYTES, footer_links=[], ssr_mode=False, pwa=False,
                mcp_server=False, enable_monitoring=False, allowed_paths=[], run_history=False,
                auth=None if address.password is None else (USER, address.password),
                theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
                css_paths=Path(__file__).parent / "page.css",
                _frontend=False,  # no second look whether the page answers, which fails on a machine that is busy for seconds
            )  # fmt: skip
            yield url
        finally:
            page.close(verbose=False)
