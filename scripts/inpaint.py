"""`sarigan inpaint`, from a checkout that need not be installed (sarigan/commands/inpaint.py)."""

from sarigan.commands.inpaint import main

if __name__ == "__main__":
    main()
