"""k-means under given sizes: the optimum of all partitions by enumeration, planted clusters, and sizes kept."""

from itertools import permutations

import pytest
import torch

from sarigan.analysis.channel_clusters import embedded, k_means, within_scatter
from sarigan.layers.kernel_similarity import kernel_similarity


def test_points_have_the_similarity_as_inner_products() -> None:
    similarity = kernel_similarity(torch.randn(9, 5, generator=torch.Generator().manual_seed(0)).double())
    points = embedded(similarity)
    torch.testing.assert_close(points @ points.t(), similarity, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_it_finds_the_best_of_all_partitions(seed: int) -> None:
    """Of 60 partitions of six points into groups of 3, 2 and 1; scatter from the points themselves, by a loop."""
    rows = torch.randn(6, 4, generator=torch.Generator().manual_seed(seed)).double()
    similarity = kernel_similarity(rows)
    unit = rows / rows.norm(dim=1, keepdim=True)

    def scatter(groups: tuple[int, ...]) -> float:
        total = 0.0
        for group in range(3):
            members = [unit[j] for j in range(6) if groups[j] == group]
            mean = sum(members) / len(members)
            total += sum(float(((member - mean) ** 2).sum()) for member in members)
        return total

    best = min(scatter(groups) for groups in set(permutations((0, 0, 0, 1, 1, 2))))
    found = k_means(similarity, torch.tensor([3, 2, 1]), num_starts=30)
    assert scatter(tuple(found.tolist())) == pytest.approx(best, abs=1e-9)
    assert within_scatter(embedded(similarity), found, 3) == pytest.approx(best, abs=1e-9)


def test_planted_clusters_and_empty_groups() -> None:
    """Kernels around five centres come back; a group of size 0 stays empty, every other has its size."""
    source = torch.Generator().manual_seed(1)
    sizes = torch.tensor([8, 0, 4, 6, 3, 3])
    labels = torch.arange(6).repeat_interleave(sizes)[torch.randperm(24, generator=source)]
    kernel = torch.randn(6, 40, generator=source)[labels] + 0.3 * torch.randn(24, 40, generator=source)
    found = k_means(kernel_similarity(kernel.double()), sizes)
    assert torch.equal(torch.bincount(found, minlength=6), sizes)
    for group in (0, 2, 3, 4, 5):
        assert len(labels[found == group].unique()) == 1
    assert torch.equal(found, k_means(kernel_similarity(kernel.double()), sizes))
