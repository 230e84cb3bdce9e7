"""`sarigan synthesize`, from a checkout that need not be installed (sarigan/commands/synthesize.py)."""

from sarigan.commands.synthesize import main

if __name__ == "__main__":
    main()
