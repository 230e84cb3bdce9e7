"""`sarigan doctor`, from a checkout that need not be installed (sarigan/commands/doctor.py)."""

from sarigan.commands.doctor import main

if __name__ == "__main__":
    main()
