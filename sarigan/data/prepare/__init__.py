"""Preparation of data sets: any source of pictures -> one LMDB of images (scripts/prepare_data.py)."""
