"""`sarigan drill`, from a checkout that need not be installed (sarigan/commands/drill.py)."""

from sarigan.commands.drill import main

if __name__ == "__main__":
    main()
