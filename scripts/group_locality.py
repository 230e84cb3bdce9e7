"""`sarigan group_locality`, from a checkout that need not be installed (sarigan/commands/group_locality.py)."""

from sarigan.commands.group_locality import main

if __name__ == "__main__":
    main()
