"""`sarigan generate`, from a checkout that need not be installed (sarigan/commands/generate.py)."""

from sarigan.commands.generate import main

if __name__ == "__main__":
    main()
