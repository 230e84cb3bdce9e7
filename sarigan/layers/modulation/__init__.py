"""Who sets the scale of a channel: by image (AdaIN), by group (Eq. 3 to 6), and the two forms built from the equations."""
