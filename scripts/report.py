"""`sarigan report`, from a checkout that need not be installed (sarigan/commands/report.py)."""

from sarigan.commands.report import main

if __name__ == "__main__":
    main()
