"""`sarigan benchmark`, from a checkout that need not be installed (sarigan/commands/benchmark.py)."""

from sarigan.commands.benchmark import main

if __name__ == "__main__":
    main()
