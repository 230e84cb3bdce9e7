"""Pixel norm of latents (Karras et al. 2018) and instance norm of features (Ulyanov et al. 2016)."""

import torch
from torch import Tensor


def pixel_norm(z: Tensor, epsilon: float = 1e-8) -> Tensor:
    """z [N,D] -> z / sqrt(mean_d z^2 + epsilon)."""
    return z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + epsilon)


def instance_norm(x: Tensor, epsilon: float = 1e-8) -> Tensor:
    """x [N,C,H,W] -> (x - mean) / sqrt(var + epsilon) with the population statistics of each channel map.

    Statistics are taken in float32 at least; returns the dtype of x.
    """
    full = full_precision(x)
    centred = full - full.mean(dim=(2, 3), keepdim=True)
    return (centred * torch.rsqrt(centred.square().mean(dim=(2, 3), keepdim=True) + epsilon)).to(x.dtype)


def full_precision(x: Tensor) -> Tensor:
    """float16 and bfloat16 become float32; float32 and float64 stay."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def wide_range(x: Tensor) -> Tensor:
    """float16 becomes float32; the other types have range enough and stay."""
    return x.float() if x.dtype == torch.float16 else x
