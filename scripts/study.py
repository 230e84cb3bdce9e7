"""`sarigan study`, from a checkout that need not be installed (sarigan/commands/study.py)."""

from sarigan.commands.study import main

if __name__ == "__main__":
    main()
