"""`sarigan curves`, from a checkout that need not be installed (sarigan/commands/curves.py)."""

from sarigan.commands.curves import main

if __name__ == "__main__":
    main()
