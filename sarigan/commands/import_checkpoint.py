"""Import other people's models: sarigan import_checkpoint network.pkl runs/imported [section.key=value ...]

Reads checkpoints of rosinality/stylegan2-pytorch and of SariGAN's release (.pt), and NVIDIA's pickles of stylegan2-ada-pytorch
and of stylegan3 with cfg=stylegan2 (.pkl), without running anything in them (docs/checkpoints.md). OUT becomes a run directory
with a checkpoint of step 0. All commands take it; `training.init_from=OUT` of a new run goes on from its weights.
Settings such as generator.mapping_learning_rate_multiplier=0.01 or data.path=FOLDER replace what was inferred, or the default.
"""

import argparse
from pathlib import Path

from sarigan.config import load_config
from sarigan.errors import InputError, exit_on_input_error
from sarigan.files.checkpoint import checkpoint_path, list_checkpoints, save_checkpoint
from sarigan.files.paths import output_folder, replace_text
from sarigan.importing.foreign_file import read_foreign
from sarigan.pretrained import require_style


def main() -> None:
    """Parse, read, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a checkpoint or network pickle")
    parser.add_argument("output", type=Path, metavar="OUT", help="a run directory that has no checkpoint yet")
    parser.add_argument("settings", nargs="*", metavar="section.key=value", help="of the run's configuration")
    options = parser.parse_args()
    with exit_on_input_error(), output_folder(options.output):
        if list_checkpoints(options.output / "checkpoints"):
            raise InputError(f"{options.output}: has checkpoints already; give a new directory")
        model = read_foreign(options.file)
        inferred = model.config(str(options.file))
        config = require_style(load_config(None, options.settings, inferred.to_dict()), options.file)
        path = checkpoint_path(options.output / "checkpoints", 0)
        save_checkpoint(model.checkpoint_state(config, str(options.file)), path)
        replace_text(options.output / "config.yaml", config.to_yaml())
        generator = config.generator
        groups = "" if generator.grouping.kind == "none" else f", {generator.grouping.num_groups} groups"
        print(f"{options.file}: {model.kind}; {config.method()}, {generator.resolution} px{groups}")
        for note in [*model.notes, f"licence: {model.licence}"]:
            print(f"note: {note}")
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
