"""Information per group: least squares by another library, planted channels, and nothing told where there is nothing."""

import numpy as np
import pytest
import torch

from sarigan.analysis.group_information import InformationScorer


def planted(num_images: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    """Scales [N,6] and logits [N,3]: attribute a is channel a plus noise of equal variance, so R^2 is 1/2."""
    source = torch.Generator().manual_seed(0)
    scales = 1 + 0.2 * torch.randn(num_images, 6, generator=source)
    return scales, 5 * (scales[:, :3] - 1) + torch.randn(num_images, 3, generator=source) + 7


def test_it_is_least_squares_counted_on_the_other_half() -> None:
    scales, logits = planted(200)
    found = InformationScorer(scales, logits).r_squared(torch.tensor([0, 4, 5]))
    x, y = scales[:, [0, 4, 5]].double().numpy(), logits.double().numpy()
    x = np.concatenate([x, np.ones((200, 1))], axis=1)
    beta = np.linalg.lstsq(x[:100], y[:100], rcond=None)[0]
    error = ((y[100:] - x[100:] @ beta) ** 2).mean(axis=0)
    np.testing.assert_allclose(found.numpy(), 1 - error / y[100:].var(axis=0), atol=1e-5)


def test_planted_channels_tell_their_attributes() -> None:
    nats = InformationScorer(*planted())(torch.tensor([0, 1, 1, 2, 2, 2]), 5)
    half = 0.5 * np.log(2)  # of R^2 = 1/2
    expected = torch.tensor([[half, 0, 0], [0, half, half], [0, 0, 0], [0, 0, 0], [0, 0, 0]])
    torch.testing.assert_close(nats, expected, rtol=0, atol=0.03)
    assert (nats[3:] == 0).all()


def test_dependent_and_constant_channels_and_logits() -> None:
    """Scales that are copies of one another, and an attribute that all images have."""
    scales, logits = planted(400)
    scales = torch.cat([scales, scales, torch.ones(400, 1)], dim=1)
    scorer = InformationScorer(scales, torch.cat([logits, torch.full((400, 1), 2.0)], dim=1))
    found = scorer.r_squared(torch.tensor([0, 6, 12]))
    assert float(found[0]) == pytest.approx(0.5, abs=0.12) and float(found[3]) == 0 and bool(found.isfinite().all())
