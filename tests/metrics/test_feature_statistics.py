"""Streamed moments against numpy's on the whole."""

import numpy as np
import pytest
import torch

from sarigan.errors import InputError
from sarigan.metrics.feature_statistics import StreamedMoments


@pytest.mark.parametrize("sizes", [(100,), (1, 1, 98), (7,) * 14 + (2,), (64, 36)])
@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_streamed_equals_batch(sizes: tuple[int, ...], offset: float) -> None:
    features = np.random.default_rng(0).standard_normal((100, 13)) @ np.diag(np.arange(1, 14)) + offset
    streamed = StreamedMoments(13)
    for part in torch.from_numpy(features).split(list(sizes)):
        streamed.update(part)
    moments = streamed.merged()
    assert moments.count == 100
    np.testing.assert_allclose(moments.mean.numpy(), features.mean(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(moments.covariance.numpy(), np.cov(features, rowvar=False), rtol=1e-10, atol=1e-10)


def test_nothing_and_one_image() -> None:
    streamed = StreamedMoments(3)
    streamed.update(torch.zeros(0, 3))
    assert streamed.merged().count == 0
    streamed.update(torch.ones(1, 3))
    with pytest.raises(InputError, match="at least 2 images, got 1"):
        _ = streamed.merged().covariance
