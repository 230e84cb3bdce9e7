"""`sarigan evaluate_inpainting`, from a checkout that need not be installed (sarigan/commands/evaluate_inpainting.py)."""

from sarigan.commands.evaluate_inpainting import main

if __name__ == "__main__":
    main()
