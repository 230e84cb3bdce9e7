"""Where one instance ends and another begins (Wang et al. 2018, pix2pixHD)."""

import numpy as np


def instance_edges(instances: np.ndarray) -> np.ndarray:
    """Numbers of instances [H,W] -> uint8 [H,W], 1 where a pixel differs from any of its four neighbours: on both sides."""
    edges = np.zeros(instances.shape, dtype=bool)
    across = instances[:, 1:] != instances[:, :-1]
    down = instances[1:] != instances[:-1]
    edges[:, 1:] |= across
    edges[:, :-1] |= across
    edges[1:] |= down
    edges[:-1] |= down
    return edges.astype(np.uint8)
