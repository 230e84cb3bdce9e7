"""`sarigan prepare_masks`, from a checkout that need not be installed (sarigan/commands/prepare_masks.py)."""

from sarigan.commands.prepare_masks import main

if __name__ == "__main__":
    main()
