"""`sarigan train`, from a checkout that need not be installed (sarigan/commands/train.py)."""

from sarigan.commands.train import main

if __name__ == "__main__":
    main()
