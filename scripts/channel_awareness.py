"""`sarigan channel_awareness`, from a checkout that need not be installed (sarigan/commands/channel_awareness.py)."""

from sarigan.commands.channel_awareness import main

if __name__ == "__main__":
    main()
