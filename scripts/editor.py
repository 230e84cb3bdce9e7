"""`sarigan edit`, from a checkout that need not be installed (sarigan/commands/editor.py)."""

from sarigan.commands.editor import main

if __name__ == "__main__":
    main()
