"""The command line: `sarigan COMMAND ...`, `python -m sarigan COMMAND ...`, and scripts/COMMAND.py in a checkout.

One module of this folder is one command: it parses, calls the library and prints; `options.py` holds what several commands
parse. A module is imported when its command is called, so that `sarigan --help` and `sarigan prepare_data` do not wait for
PyTorch.
"""

import difflib
import importlib
import sys

COMMANDS = {
    "train": "train a generator, or go on with a stopped run",
    "launch": "start a training on several processes: torchrun that checks the input first",
    "evaluate": "compute metrics of a checkpoint, or of any set of images",
    "study": "train, evaluate and compare several configurations with several seeds",
    "generate": "make images: files, a grid, a truncation sweep, a film",
    "report": "write one HTML page that shows a run",
    "compare": "compare runs on one HTML page: settings, curves, metrics, the same seeds",
    "curves": "draw one value of several runs over training in one figure",
    "attention_maps": "draw what each semantic group responds to",
    "edit_groups": "edit the codes of semantic groups",
    "editor": "edit semantics in the browser (also: sarigan edit)",
    "edit_directions": "edit along directions of w, or single channels, of any model",
    "style_mixing": "mix the styles of two sets of images",
    "semantics": "measure how semantic groups are, beside random groups and groups made afterwards",
    "group_locality": "the older name of semantics",
    "channel_awareness": "find and edit the channels that a class uses, segment by them",
    "project": "find the latents of a given image",
    "import_checkpoint": "read a model of other people's code (also: sarigan import)",
    "export": "write a generator as safetensors and ONNX, or for other people's code",
    "prepare_data": "convert pictures to a prepared data set (LMDB)",
    "inpaint": "complete the holes of images",
    "synthesize": "make images of a layout",
    "evaluate_inpainting": "compare inpainting models on the same images and masks",
    "prepare_masks": "store a fixed set of masks, one for each image, for inpainting",
    "single_image": "learn from one picture; sample, enlarge, paint, harmonize, edit, animate",
    "doctor": "check this machine and a configuration before a run",
    "benchmark": "measure speed, or count work and memory",
    "drill": "break a run or a preparation on purpose, and check that nothing is lost",
    "train_segmenter": "train a segmenter on a set's layouts, to judge images made from layouts",
    "train_avatar_networks": "train the classifier and the segmenter of the built-in avatars",
}
SHORT_NAMES = {"import": "import_checkpoint", "edit": "editor"}  # `import` is no name of a module in Python
USAGE_ERROR = 2


def main() -> None:
    """Run the command that the first argument names."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print("usage: sarigan COMMAND [OPTIONS]      sarigan COMMAND --help shows the options\n")
        for command, summary in COMMANDS.items():
            print(f"  {command:<22} {summary}")
        return
    command = SHORT_NAMES.get(name, name.replace("-", "_"))
    if command not in COMMANDS:
        nearest = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else "see sarigan --help"
        print(f"error: no command {name[:80]!r}; {hint}", file=sys.stderr)
        raise SystemExit(USAGE_ERROR)
    sys.argv = [f"sarigan {command}", *arguments]  # argparse takes the name that it prints from here
    importlib.import_module(f"sarigan.commands.{command}").main()
