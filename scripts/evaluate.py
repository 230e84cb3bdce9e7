"""`sarigan evaluate`, from a checkout that need not be installed (sarigan/commands/evaluate.py)."""

from sarigan.commands.evaluate import main

if __name__ == "__main__":
    main()
