"""Seeds, their latents and noise, and ways between them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sarigan.editing.edit_file import load_latents, save_latents
from sarigan.editing.rendering import render
from sarigan.editing.seeds import LatentPath, latents_of_seeds, noise_of_seeds, parse_seeds, slerp, z_of_seeds
from sarigan.errors import InputError
from sarigan.layers.grouping import GroupingConfig
from sarigan.models.generator import Generator, GeneratorConfig


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    config = GeneratorConfig(
        resolution=16, z_dim=8, style_dim=8, mapping_layers=2, channel_base=64, channel_max=16,
        grouping=GroupingConfig(num_groups=3),
    )  # fmt: skip
    found = Generator(config).eval().requires_grad_(False)
    for parameter_name, parameter in found.named_parameters():
        if parameter_name.endswith("noise.strength"):
            parameter.fill_(0.5)
    found.update_mean_latent(500)
    return found


def test_seeds() -> None:
    assert parse_seeds("3") == [3]
    assert parse_seeds("0-3,8, 5-5") == [0, 1, 2, 3, 8, 5]
    assert parse_seeds("4294967295") == [2**32 - 1]
    wrong = {
        "": "numbers and ranges", "a": "numbers", "-1": "numbers", "1-2-3": "numbers", "5-2": "upwards",
        "4294967296": "0 to 4294967295", "0-4294967295": "at most 100000",
    }  # fmt: skip
    for text, message in wrong.items():
        with pytest.raises(InputError, match=message):
            parse_seeds(text)


def test_a_seed_is_the_same_picture_in_any_company(generator: Generator) -> None:
    seeds = [5, 2, 9]
    together = render(generator, latents_of_seeds(generator, seeds, 0.7), "fresh", seeds, batch_size=2)
    for index, seed in enumerate(seeds):
        alone = render(generator, latents_of_seeds(generator, [seed], 0.7), "fresh", [seed])
        torch.testing.assert_close(together[index : index + 1], alone, rtol=0, atol=1e-5)
    assert torch.equal(z_of_seeds(generator, [4])[0], torch.randn(8, generator=torch.Generator().manual_seed(4)))


def test_noises(generator: Generator) -> None:
    fixed = noise_of_seeds(generator, "fixed", [1, 2])
    fresh = noise_of_seeds(generator, "fresh", [1, 2])
    assert [tuple(m.shape) for m in fixed] == [tuple(m.shape) for m in fresh] == [(2, 1, r, r) for r in (4, 8, 8, 16, 16)]
    assert all(torch.equal(m[0], m[1]) for m in fixed) and not any(torch.equal(m[0], m[1]) for m in fresh)
    assert noise_of_seeds(generator, "none", [1]) == [None] * 5
    with pytest.raises(InputError, match="noise must be one of fixed, fresh, none, got 'loud'"):
        noise_of_seeds(generator, "loud", [1])


def test_slerp_walks_the_circle_at_constant_speed() -> None:
    a, b = torch.tensor([[2.0, 0, 0]]), torch.tensor([[0, 4.0, 0]])
    for t in (0.0, 0.25, 0.5, 1.0):
        angle = torch.tensor(t * torch.pi / 2)
        expected = torch.stack([angle.cos(), angle.sin(), torch.tensor(0.0)])[None] * (2 + 2 * t)
        torch.testing.assert_close(slerp(a, b, t), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(slerp(a, 3 * a, 0.5), 2 * a)  # parallel


def test_interpolations_pass_through_the_seeds(generator: Generator) -> None:
    for space in ("z", "w"):
        lazy = LatentPath(generator, [3, 4], 4, space, 0.5)
        path = lazy[:]
        assert path.shape == (8, 6, 16) and len(lazy) == 8
        torch.testing.assert_close(torch.cat([lazy[0:3], lazy[3:6], lazy[6:9]]), path, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(path[[0, 4]], latents_of_seeds(generator, [3, 4], 0.5), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(path[2], path[[0, 4]].mean(dim=0))
    for seeds, frames, space, message in (
        ([1, 2], 2, "q", "one of z, w"), ([1], 2, "w", "at least two seeds"), ([1, 2], 0, "w", "at least 1"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            LatentPath(generator, seeds, frames, space)


def test_latents_through_a_file(generator: Generator, tmp_path: Path) -> None:
    latents = latents_of_seeds(generator, [1, 2])
    path = tmp_path / "new" / "latents.npz"
    save_latents(path, generator, latents, [1, 2])
    assert torch.equal(load_latents(path, generator), latents)
    with np.load(path) as file:
        assert file["seeds"].tolist() == [1, 2]
        groups = generator(z_of_seeds(generator, [0])).groups
        assert all(np.array_equal(file[f"groups/{name}"], found.numpy()) for name, found in groups.items())
    np.savez(path, latents=np.zeros((3, 16), dtype=np.float32))
    assert load_latents(path, generator).shape == (3, 6, 16)
    for array, message in {
        "shape": (np.zeros((3, 7), dtype=np.float32), r"another architecture, shape \(3, 7\); this generator has \(N, 6, 16\)"),
        "large": (np.full((1, 16), 1e300), "must be finite float32 numbers"),
        "nan": (np.full((1, 16), np.nan, dtype=np.float32), "must be finite"),
    }.values():
        np.savez(path, latents=array)
        with pytest.raises(InputError, match=message):
            load_latents(path, generator)
    path.write_text("no")
    with pytest.raises(InputError, match="not a readable .npz file"):
        load_latents(path, generator)
