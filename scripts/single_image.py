"""`sarigan single_image`, from a checkout that need not be installed (sarigan/commands/single_image.py)."""

from sarigan.commands.single_image import main

if __name__ == "__main__":
    main()
