"""Operators a style-based GAN spends its time in, each behind one function: bias + activation and FIR resampling."""

from ops.fused_bias_act import bias_act
from ops.upfirdn2d import upfirdn2d

__all__ = ["bias_act", "upfirdn2d"]
