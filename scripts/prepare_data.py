"""`sarigan prepare_data`, from a checkout that need not be installed (sarigan/commands/prepare_data.py)."""

from sarigan.commands.prepare_data import main

if __name__ == "__main__":
    main()
