"""`sarigan project`, from a checkout that need not be installed (sarigan/commands/project.py)."""

from sarigan.commands.project import main

if __name__ == "__main__":
    main()
