"""`sarigan import_checkpoint`, from a checkout that need not be installed (sarigan/commands/import_checkpoint.py)."""

from sarigan.commands.import_checkpoint import main

if __name__ == "__main__":
    main()
