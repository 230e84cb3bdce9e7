"""`sarigan attention_maps`, from a checkout that need not be installed (sarigan/commands/attention_maps.py)."""

from sarigan.commands.attention_maps import main

if __name__ == "__main__":
    main()
