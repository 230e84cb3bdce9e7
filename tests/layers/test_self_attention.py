"""Self-attention against a loop over pixels."""

import torch

from sarigan.layers.self_attention import SelfAttention
from sarigan.layers.spectral_norm import initialize_weights


def test_equals_the_slow_loop() -> None:
    layer = SelfAttention(8).double()
    initialize_weights(layer, "normal", iterations=500)
    x = torch.randn(2, 8, 4, 4, dtype=torch.float64)
    assert torch.equal(layer(x), x)  # the gate is 0 at the start
    with torch.no_grad():
        layer.gate.fill_(0.7)
    normalized = {
        name: getattr(layer, name).spectral(getattr(layer, name).weight).detach()[:, :, 0, 0]
        for name in ("theta", "phi", "g", "o")
    }
    expected = torch.empty_like(x)
    for n in range(2):
        maps = {name: torch.einsum("oc,chw->ohw", normalized[name], x[n]) for name in ("theta", "phi", "g")}
        pooled = {
            name: torch.stack(
                [maps[name][:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].amax(dim=(1, 2)) for i in range(2) for j in range(2)]
            )
            for name in ("phi", "g")
        }
        for i in range(4):
            for j in range(4):
                scores = torch.tensor([float(maps["theta"][:, i, j] @ key) for key in pooled["phi"]], dtype=torch.float64)
                shares = scores.exp() / scores.exp().sum()
                mixed = (shares[:, None] * pooled["g"]).sum(dim=0)
                expected[n, :, i, j] = x[n, :, i, j] + 0.7 * normalized["o"] @ mixed
    torch.testing.assert_close(layer(x).detach(), expected)
