"""The image encoder of GauGAN: the style of a reference image as a Gaussian over z (Park et al. 2019, appendix A)."""

import math

from torch import Tensor, nn
from torch.nn import functional as F

from sarigan.layers.spectral_norm import SpectralConv2d

WIDTHS = (1, 2, 4, 8, 8, 8)  # of the convolutions, in units of `channels`; the last for all that follow
END_SIZE = 4  # pixels of the last map


class StyleEncoder(nn.Module):
    """images [N,3,h,w] in -1..1 -> mean and log variance of z, both [N,D].

    Images are resized to size x size (bilinear). log2(size / 4) convolutions of stride 2 lead to 4 x 4. The release always
    has five of them below 256 px, which then do not fit its dense layer.
    """

    def __init__(self, channels: int, size: int, style_dim: int) -> None:
        super().__init__()
        self.size = size
        widths = [3]
        for index in range(int(math.log2(size // END_SIZE))):
            widths.append(channels * WIDTHS[min(index, len(WIDTHS) - 1)])
        self.convs = nn.ModuleList(
            SpectralConv2d(i, o, 3, stride=2, padding=1, bias=False) for i, o in zip(widths, widths[1:], strict=False)
        )
        self.mean = nn.Linear(widths[-1] * END_SIZE**2, style_dim)
        self.log_variance = nn.Linear(widths[-1] * END_SIZE**2, style_dim)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = images
        if x.shape[2:] != (self.size, self.size):
            x = F.interpolate(x, size=(self.size, self.size), mode="bilinear", align_corners=False)
        for conv in self.convs:
            x = F.leaky_relu(F.instance_norm(conv(x)), 0.2)
        x = x.flatten(start_dim=1)
        return self.mean(x), self.log_variance(x)
