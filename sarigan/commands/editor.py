"""A semantic editor in the browser (docs/editor.md): the model's groups as cards, edits as a list, all on this machine.

sarigan edit                                     # the generator of the package
sarigan edit runs/quickstart --port 7861         # the newest checkpoint of a run
SARIGAN_EDITOR_PASSWORD=... sarigan edit avatars_64 --host 0.0.0.0
"""

import argparse
import os
import signal
import time

from sarigan.device import resolve_device
from sarigan.editor.server import PASSWORD_VARIABLE, Address, open_model, require_gradio, served
from sarigan.errors import exit_on_input_error
from sarigan.exporting.shipped import SHIPPED

ENDING = (signal.SIGINT, signal.SIGTERM)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = next(iter(SHIPPED))
    parser.add_argument("checkpoint", nargs="?", default=default, help=f"run, checkpoint, export or model; default {default}")
    parser.add_argument("--host", default="127.0.0.1", help="default: this machine alone; others need a password")
    parser.add_argument("--port", type=int, default=7860, help="default 7860")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    options = parser.parse_args()
    with exit_on_input_error():
        address = Address(options.host, options.port, os.environ.get(PASSWORD_VARIABLE))
        require_gradio()
        address.check_free()
        model = open_model(options.checkpoint, resolve_device(options.device, "--device"))
        # Only noted: an exception raised wherever a signal arrives can be lost, and the folder of uploads must go. After the
        # first request all others are ignored to the end of the process, however impatient.
        endings: list[int] = []
        for number in ENDING:
            signal.signal(number, lambda number, frame: endings.append(number))
        with served(model, address) as url:
            print(f"{options.checkpoint}: {model.description()}\nopen {url} in a browser; Ctrl-C ends", flush=True)
            while not endings:
                time.sleep(0.1)
            for number in ENDING:
                signal.signal(number, signal.SIG_IGN)
        print("ended")
