"""`sarigan train_avatar_networks`, from a checkout that need not be installed (sarigan/commands/train_avatar_networks.py)."""

from sarigan.commands.train_avatar_networks import main

if __name__ == "__main__":
    main()
