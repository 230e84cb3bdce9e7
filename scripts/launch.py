"""`sarigan launch`, from a checkout that need not be installed (sarigan/commands/launch.py)."""

from sarigan.commands.launch import main

if __name__ == "__main__":
    main()
