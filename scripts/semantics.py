"""`sarigan semantics`, from a checkout that need not be installed (sarigan/commands/semantics.py)."""

from sarigan.commands.semantics import main

if __name__ == "__main__":
    main()
