"""float16 and bfloat16 beside float32: the same run within rounding, and nothing overflows."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from sarigan.data.batch import Batch

Build = Callable[..., Any]


@pytest.fixture(scope="module")
def means_of(tiny_config: Build, tiny_trainer: Build) -> Callable[[str], dict[str, float]]:
    """means_of(precision): of the losses of the last 100 of 200 steps, every phase in them.

    None is skipped; in float16, whose gradients may overflow under the loss scale, few. Three seeds had 0 to 2, and seed 0 has
    one or none, as the processor has float16 arithmetic, which rounds otherwise than float32's, or not.
    """
    known: dict[str, dict[str, float]] = {}

    def run(precision: str) -> dict[str, float]:
        if precision not in known:
            trainer = tiny_trainer(tiny_config(f"training.precision={precision}", "training.total_kimg=1.6"))
            batch = Batch(torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0)).mul(255).byte())
            for step in range(200):
                if step == 100:
                    trainer.scalars.means()
                trainer.train_step(iter([batch]))
            assert trainer.nonfinite.total() <= (10 if precision == "float16" else 0)
            known[precision] = trainer.scalars.means()
        return known[precision]

    return run


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_200_steps_follow_float32(precision: str, means_of: Callable[[str], dict[str, float]]) -> None:
    exact, found = means_of("float32"), means_of(precision)
    for name in ("loss/discriminator", "loss/generator", "loss/r1", "loss/path_length", "information/mse_d"):
        assert abs(exact[name] - found[name]) < 0.1 * abs(exact[name]) + 0.02, (name, exact[name], found[name])
    assert exact["loss/discriminator"] != found["loss/discriminator"]  # it is not float32 that ran


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("overrides", [(), ("generator.form=activation",), ("generator.style_biases=true",)])
def test_extreme_styles_stay_finite(precision: str, overrides: tuple[str, ...], tiny_config: Build, tiny_state: Build) -> None:
    """Codes near 1e4 in every layer, ToRGB included. (Gradients of float16 may overflow there, which skips the update.)"""
    state = tiny_state(tiny_config(f"training.precision={precision}", "generator.resolution=16", *overrides))
    with torch.no_grad():
        for name, parameter in state.system.generator.named_parameters():
            if ".style." in name and name.endswith("bias"):
                parameter.mul_(0).add_(1e4)
    dtype = state.precision.autocast_dtype
    with torch.autocast("cpu", dtype=dtype):
        output = state.system.generator(torch.randn(4, 8, generator=torch.Generator().manual_seed(0)))
        logits = state.system.discriminator(output.images.clamp(-10, 10)).logits
    assert output.images.dtype == torch.float32 and bool(output.images.isfinite().all())
    assert any(float(code.z_scale.detach().abs().max()) > 9000 for code in output.codes.values())
    assert bool(logits.isfinite().all())


def test_the_demodulated_result_does_not_see_the_normalisation(tiny_config: Build, tiny_state: Build) -> None:
    """float16 images of ordinary styles are float32's within rounding."""
    state = tiny_state(tiny_config("training.precision=float16", "generator.resolution=16"))
    z = torch.randn(8, 8, generator=torch.Generator().manual_seed(1))
    exact = state.system.generator(z, noise="fixed").images
    with torch.autocast("cpu", dtype=torch.float16):
        half = state.system.generator(z, noise="fixed").images
    half, exact = half.detach(), exact.detach()
    assert 0 < float((half - exact).square().mean().sqrt() / exact.square().mean().sqrt()) < 5e-3
