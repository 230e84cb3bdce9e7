"""Operators a style-based GAN spends its time in, each behind one function: bias + activation, FIR resampling, convolution."""

from ops.convolution import conv2d, conv_transpose2d
from ops.fused_bias_act import bias_act
from ops.upfirdn2d import upfirdn2d

__all__ = ["bias_act", "conv2d", "conv_transpose2d", "upfirdn2d"]
