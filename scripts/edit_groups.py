"""`sarigan edit_groups`, from a checkout that need not be installed (sarigan/commands/edit_groups.py)."""

from sarigan.commands.edit_groups import main

if __name__ == "__main__":
    main()
