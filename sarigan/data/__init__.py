"""Data sets: indexable sources of uint8 [3,R,R] images, their sampling and their preparation."""
