"""`sarigan edit_directions`, from a checkout that need not be installed (sarigan/commands/edit_directions.py)."""

from sarigan.commands.edit_directions import main

if __name__ == "__main__":
    main()
