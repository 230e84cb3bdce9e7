"""Layouts: the class of every pixel beside an image, checked when it is read."""
