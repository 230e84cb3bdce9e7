"""What judges completions in CA and AN: critics without masks (Arjovsky et al. 2017, "Wasserstein GAN").

CA has one of the image and one of the window around the hole (Yu et al. 2018); AN has one with self-attention (Zhang et al.
2019) at an eighth of the size. Convolutions are 5x5 of stride 2, with a leaky ReLU; a dense layer ends in one number.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sarigan.errors import require_at_least_1, require_at_most, require_one_of
from sarigan.systems.inpainting.two_stage.same_convolution import SameConvolution
from sarigan.systems.inpainting.windows import hole_windows

SLOPE = 0.2


@dataclass(frozen=True)
class CriticConfig:
    """Defaults are those of CA."""

    kind: str = "global_and_local"  # global_and_local | self_attention
    width: int = 64  # channels after the first convolution

    def __post_init__(self) -> None:
        require_at_least_1(self, "width", prefix="discriminator.")
        require_at_most("discriminator", self, width=1024)
        require_one_of(self, "discriminator.", kind=(*CRITICS,))


class SelfAttention(nn.Module):
    """x [N,C,H,W] -> x + gamma * attention over all positions (Zhang et al. 2019, Eq. 1 to 3); gamma starts at 0.

    Without the spectral norm of `sarigan.layers.self_attention`, in whose place the gradient penalty stands.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.key, self.query = (nn.Conv2d(channels, max(1, channels // 8), 1) for _ in range(2))
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        key, query, value = (layer(x).flatten(start_dim=2) for layer in (self.key, self.query, self.value))
        weights = torch.softmax(query.transpose(1, 2) @ key, dim=2)  # [N,P,P], a row for each position that asks
        return x + self.gamma * (value @ weights.transpose(1, 2)).reshape_as(x)


class Critic(nn.Sequential):
    """[N,3,R,R] -> [N,1]. `attention_after`: so many convolutions stand before a self-attention."""

    def __init__(self, resolution: int, widths: list[int], attention_after: int | None = None) -> None:
        layers: list[nn.Module] = []
        for index, (before, after) in enumerate(zip([3, *widths], widths, strict=False)):
            if index == attention_after:
                layers.append(SelfAttention(before))
            layers.append(SameConvolution(before, after, kernel=5, stride=2, activation=nn.LeakyReLU(SLOPE)))
            resolution = -(-resolution // 2)
        dense = nn.Linear(widths[-1] * resolution**2, 1)
        nn.init.xavier_uniform_(dense.weight)
        nn.init.zeros_(dense.bias)
        super().__init__(*layers, nn.Flatten(), dense)


class GlobalAndLocal(nn.Module):
    """images [N,3,R,R], known [N,1,R,R] -> [N,2]: the critic of the image, and that of the window around its hole."""

    def __init__(self, resolution: int, width: int) -> None:
        super().__init__()
        self.whole = Critic(resolution, [width, 2 * width, 4 * width, 4 * width])
        self.local = Critic(resolution // 2, [width, 2 * width, 4 * width, 8 * width])

    def forward(self, images: Tensor, known: Tensor) -> Tensor:
        return torch.cat([self.whole(images), self.local(hole_windows(images, known))], dim=1)


class WithSelfAttention(nn.Module):
    """images [N,3,R,R], known [N,1,R,R] -> [N,1]; the mask is not looked at."""

    def __init__(self, resolution: int, width: int) -> None:
        super().__init__()
        self.whole = Critic(resolution, [width, 2 * width, 4 * width, 8 * width, 4 * width, 2 * width], attention_after=3)

    def forward(self, images: Tensor, known: Tensor) -> Tensor:
        return self.whole(images)


# (R, width) -> critics, by `discriminator.kind`.
CRITICS: dict[str, Callable[[int, int], nn.Module]] = {
    "global_and_local": GlobalAndLocal,
    "self_attention": WithSelfAttention,
}
