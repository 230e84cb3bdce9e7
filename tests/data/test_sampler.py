"""The order of the training images: a function of (seed, position), dealt to shards without loss."""

from itertools import islice

import pytest

from sarigan.data.sampler import InfiniteSampler, PlacedSample, StepBatches


def test_every_epoch_is_a_permutation_of_its_own() -> None:
    sampler = InfiniteSampler(50, seed=0, flip=False)
    epochs = [[sampler[epoch * 50 + offset][0] for offset in range(50)] for epoch in range(4)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_what_stands_at_a_position_depends_on_the_seed_alone() -> None:
    sampler = InfiniteSampler(50, seed=0, flip=True)
    forward = [sampler[p] for p in range(500)]
    fresh = InfiniteSampler(50, seed=0, flip=True)
    assert [fresh[p] for p in reversed(range(500))] == forward[::-1]
    assert [InfiniteSampler(50, seed=1, flip=True)[p] for p in range(50)] != forward[:50]


def test_flips_are_fair_coins_of_their_own_and_leave_the_order() -> None:
    flipped, plain = InfiniteSampler(1000, 0, True), InfiniteSampler(1000, 0, False)
    samples = [flipped[p] for p in range(4000)]
    assert [index for index, _ in samples] == [plain[p][0] for p in range(4000)]
    assert not any(plain[p][1] for p in range(100))
    assert 0.46 < sum(mirrored for _, mirrored in samples) / 4000 < 0.54
    # An image is not mirrored in every epoch or in none.
    both = [{mirrored for index, mirrored in samples if index == image} for image in range(30)]
    assert sum(len(seen) == 2 for seen in both) > 20


def test_one_image() -> None:
    assert [InfiniteSampler(1, 0, False)[p] for p in range(3)] == [(0, False)] * 3


def batches(ranks: int, rounds: int, batch_size: int = 16, position: int = 0, steps: int = 5) -> list[list[list[PlacedSample]]]:
    """Of every step: the batch of every rank."""
    sampler = InfiniteSampler(37, seed=3, flip=True)
    sources = [StepBatches(sampler, position, batch_size, rank, ranks, rounds) for rank in range(ranks)]
    return [list(step) for step in islice(zip(*sources, strict=True), steps)]


@pytest.mark.parametrize(("ranks", "rounds"), [(1, 1), (1, 2), (1, 4), (2, 1), (2, 2), (4, 2), (1, 16)])
def test_ranks_and_rounds_partition_the_same_batches(ranks: int, rounds: int) -> None:
    """Shard s of S = ranks * rounds holds positions s, s+S, s+2S, ...: across epochs of 37 images too."""
    sampler = InfiniteSampler(37, seed=3, flip=True)
    shards = ranks * rounds
    for step, of_ranks in enumerate(batches(ranks, rounds)):
        for rank, batch in enumerate(of_ranks):
            assert len(batch) == 16 // ranks
            size = len(batch) // rounds
            for turn in range(rounds):
                shard = rank * rounds + turn
                expected = [(*sampler[16 * step + p], 16 * step + p) for p in range(shard, 16, shards)]
                assert batch[turn * size : (turn + 1) * size] == expected


@pytest.mark.parametrize(("ranks", "rounds"), [(1, 1), (2, 2)])
def test_starting_at_a_position_skips_exactly_that_many_samples(ranks: int, rounds: int) -> None:
    assert batches(ranks, rounds, position=48, steps=4) == batches(ranks, rounds, steps=7)[3:]
