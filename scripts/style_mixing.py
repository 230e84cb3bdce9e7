"""`sarigan style_mixing`, from a checkout that need not be installed (sarigan/commands/style_mixing.py)."""

from sarigan.commands.style_mixing import main

if __name__ == "__main__":
    main()
