#!/usr/bin/env bash
# Draw the pictures of a trained model at the top of README.md: a grid of samples, and one edit of one group's code, with the
# image before, after, and where it changes. Seeds and noise are fixed: the same machine draws the same pictures again.
#
#   bash scripts/readme_pictures.sh MODEL LAYER GROUP [AMOUNT [SEEDS]]
#
# The amount is the factor of the group's h_i. `sarigan edit_groups MODEL --layer LAYER --code h --scale` shows all groups.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ $# -lt 3 ]; then
    echo "error: usage: bash scripts/readme_pictures.sh MODEL LAYER GROUP [AMOUNT [SEEDS]]" >&2
    exit 2
fi
model="$1" layer="$2" group="$3" amount="${4:-3}" seeds="${5:-0-5}"
name="$(basename "$model")"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python scripts/generate.py "$model" --seeds 0-31 --columns 8 --truncation 1 --noise fixed --grid-only --output "$work"
python scripts/edit_groups.py "$model" --layer "$layer" --groups "$group" --code h --scale --amounts "$amount" \
    --seeds "$seeds" --truncation 0.7 --noise fixed --output "$work"
mv "$work/grid.png" "docs/images/$name.png"
mv "$work/${layer}_h_scale_group$group.png" "docs/images/${name}_edit.png"
echo "docs/images/$name.png docs/images/${name}_edit.png"
