"""`sarigan compare`, from a checkout that need not be installed (sarigan/commands/compare.py)."""

from sarigan.commands.compare import main

if __name__ == "__main__":
    main()
