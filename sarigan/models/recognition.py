"""Q, the recognition head of the information loss (SariGAN Eq. 8; Chen et al. 2016, InfoGAN)."""

from torch import Tensor, nn

from sarigan.layers.linear import EqualizedLinear


class RecognitionHead(nn.Module):
    """Regresses the codes of an image from the discriminator's last features: [N,features] -> [N,code_dim]."""

    def __init__(self, num_features: int, code_dim: int) -> None:
        super().__init__()
        self.linear = EqualizedLinear(num_features, code_dim)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(features)
