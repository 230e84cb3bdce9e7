"""`sarigan export`, from a checkout that need not be installed (sarigan/commands/export.py)."""

from sarigan.commands.export import main

if __name__ == "__main__":
    main()
