"""`python -m sarigan COMMAND ...`; also `torchrun -m sarigan COMMAND ...`, where the package is installed without scripts/."""

from sarigan.commands import main

if __name__ == "__main__":
    main()
