"""`sarigan train_segmenter`, from a checkout that need not be installed (sarigan/commands/train_segmenter.py)."""

from sarigan.commands.train_segmenter import main

if __name__ == "__main__":
    main()
