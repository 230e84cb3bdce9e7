"""CA and AN: published sizes, what reaches what, and the trainer's promises."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from process_tools import ROOT, run_ranks
from stopped_runs import stopped_at, stored_weights
from torch import Tensor, nn

from sarigan.config import load_config
from sarigan.data.batch import Batch, to_signed_float
from sarigan.diagnosis.scaling import count_step
from sarigan.errors import InputError
from sarigan.files.run_record import read_run
from sarigan.losses.reconstruction import hole_l1
from sarigan.pretrained import load_generator, load_inpainting, load_system
from sarigan.runs.run import train
from sarigan.runs.summary import dry_run_report
from sarigan.systems.inpainting.two_stage.critics import SelfAttention
from sarigan.systems.inpainting.two_stage.generator import TwoStageConfig, TwoStageGenerator
from sarigan.systems.inpainting.two_stage.same_convolution import SameConvolution
from sarigan.systems.inpainting.two_stage.system import TwoStageInpaintingSystem
from sarigan.systems.inpainting.two_stage.weighting import WEIGHTINGS
from sarigan.systems.inpainting.windows import hole_windows
from sarigan.systems.system import Shard, count_parameters
from sarigan.training.precision import Precision, resolve_precision
from sarigan.visualization.report.run_sections import write_report

Build = Callable[..., Any]
JOBS = ROOT / "tests" / "training" / "process_group_jobs.py"


def test_parameter_counts_at_256_px() -> None:
    def built(*overrides: str) -> TwoStageInpaintingSystem:
        with torch.device("meta"):
            return load_config(None, ["system=two_stage_inpainting", *overrides]).build(
                Precision(torch.device("meta"), "float32")
            )

    ca, an = built(), built("generator.refinement=attentive_normalization", "discriminator.kind=self_attention")
    assert count_parameters(ca.generator) == 3_601_542 and count_parameters(ca.generator.coarse) == 1_448_227
    assert [count_parameters(critic) for critic in ca.discriminator.children()] == [2_733_441, 4_339_329]
    assert count_parameters(an.generator) == 3_790_263 and count_parameters(an.generator.refinement.middle) == 22_705


@pytest.mark.parametrize(("size", "kernel", "stride", "before"), [(8, 3, 2, 0), (8, 5, 2, 1), (7, 3, 2, 1), (8, 3, 1, 1)])
def test_padding_is_that_of_tensorflow(size: int, kernel: int, stride: int, before: int) -> None:
    """Output position 0 has its kernel's first row `before` pixels above the image."""
    layer = SameConvolution(1, 1, kernel, stride)
    with torch.no_grad():
        layer.convolution.weight.zero_()
        layer.convolution.weight[0, 0, before, before] = 1  # picks the pixel under it: the image's first
    image = torch.arange(1.0, size * size + 1).reshape(1, 1, size, size)
    assert torch.equal(layer(image), image[:, :, ::stride, ::stride])


def test_dilation_keeps_the_size() -> None:
    assert SameConvolution(2, 3, dilation=8)(torch.rand(1, 2, 5, 6)).shape == (1, 3, 5, 6)


def test_second_gradients_of_a_single_pixel_in_bfloat16() -> None:
    """Taps that see no pixel have none under a gradient penalty; with PyTorch's own padding theirs is often undefined there."""
    torch.manual_seed(0)
    layer = SameConvolution(16, 32, kernel=5, stride=2)
    for _ in range(20):
        x = torch.randn(24, 16, 1, 1, requires_grad=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = layer(x)
        (slope,) = torch.autograd.grad(output.float().sum(), x, create_graph=True)
        (gradient,) = torch.autograd.grad(output.float().mean() + slope.square().sum(), layer.convolution.weight)
        taps = gradient.abs().amax(dim=(0, 1))
        assert taps[2, 2] > 0 and (taps > 0).sum() == 1


@pytest.mark.parametrize("refinement", ["contextual_attention", "attentive_normalization"])
def test_known_pixels_keep_their_bits_and_holes_are_not_seen(refinement: str) -> None:
    torch.manual_seed(0)
    generator = TwoStageGenerator(TwoStageConfig(16, 4, refinement, 3))
    images = to_signed_float(torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8))
    known = torch.ones(3, 1, 16, 16)
    known[0, :, 4:12, 4:12], known[1, :, :8, :8], known[2, :, 3:9, 1:16] = 0, 0, 0
    positions = torch.rand(3, 3)
    output = generator(images, known, positions)
    where, hole = known.expand_as(images) == 1, known.expand_as(images) == 0
    assert torch.equal(output.images[where], images[where]) and torch.equal(output.images[hole], output.refined[hole])
    assert not torch.isclose(output.images[hole], images[hole]).all()
    other = torch.where(hole, torch.rand_like(images), images)
    assert torch.equal(generator(other, known, positions).images, output.images)
    assert not torch.equal(generator(-images, known, positions).images[hole], output.images[hole])
    assert (generator.num_positions > 0) == (refinement == "attentive_normalization")
    # Neither method draws anything when it completes.
    assert torch.equal(generator.complete(images, known, [1, 2, 3]), generator.complete(images, known, [4, 5, 6]))
    with pytest.raises(InputError, match="truncation must be 1 for a model without latents, got 0.5"):
        generator.complete(images, known, [1, 2, 3], 0.5)


def test_a_broken_network_leaves_known_pixels_alone() -> None:
    generator = TwoStageGenerator(TwoStageConfig(16, 4))
    with torch.no_grad():
        generator.refinement.decoder[-2].convolution.bias.fill_(math.nan)
    images, known = torch.rand(1, 3, 16, 16), torch.ones(1, 1, 16, 16)
    known[:, :, 4:12, 4:12] = 0
    completed, where = generator(images, known).images, known.expand_as(images) == 1
    assert torch.equal(completed[where], images[where]) and completed[~where].isnan().all()


def test_as_released_the_normalisation_draws_at_test_time() -> None:
    torch.manual_seed(0)
    generator = TwoStageGenerator(TwoStageConfig(16, 8, "attentive_normalization", 3, as_released=True))
    with torch.no_grad():
        generator.refinement.middle.rho.fill_(1)
        for layer in (generator.refinement.middle.key, generator.refinement.middle.query):
            layer.weight.mul_(10)
    images, known = torch.rand(2, 3, 16, 16), torch.ones(2, 1, 16, 16)
    known[:, :, 4:12, 4:12] = 0
    one, again, other = (generator.complete(images, known, seeds) for seeds in ([1, 2], [1, 2], [1, 3]))
    assert generator.draws_completions and torch.equal(one, again)
    assert torch.allclose(one[0], other[0], atol=1e-6) and not torch.allclose(one[1], other[1], atol=1e-6)


def test_self_attention_against_loops() -> None:
    torch.manual_seed(0)
    module, x = SelfAttention(8).double(), torch.randn(1, 8, 2, 3, dtype=torch.float64)
    assert torch.equal(module(x), x)
    with torch.no_grad():
        module.gamma.fill_(0.7)
    flat = x[0].flatten(1)
    key, query, value = (
        layer.weight[:, :, 0, 0] @ flat + layer.bias[:, None] for layer in (module.key, module.query, module.value)
    )
    for p in range(6):
        weights = torch.tensor([math.exp((query[:, p] @ key[:, q]).item()) for q in range(6)]).double()
        expected = flat[:, p] + 0.7 * sum(value[:, q] * weights[q] / weights.sum() for q in range(6))
        assert torch.allclose(module(x)[0].flatten(1)[:, p], expected)


def system_of(config: Any) -> TwoStageInpaintingSystem:
    built = config.build(resolve_precision(config.training))
    assert isinstance(built, TwoStageInpaintingSystem)
    return built


def shard_of(system: TwoStageInpaintingSystem, phase: str, known: Tensor) -> Shard:
    source = torch.Generator().manual_seed(1)
    return Shard(Batch(torch.rand(8, 3, 16, 16, generator=source) * 2 - 1, mask=known), system.randomness.draw(phase, 0, 8))


def box() -> Tensor:
    known = torch.ones(8, 1, 16, 16)
    known[:, :, 3:9, 4:10] = 0
    return known


def reached(loss: Tensor, module: nn.Module) -> set[str]:
    named = list(module.named_parameters())
    gradients = torch.autograd.grad(loss, [p for _, p in named], allow_unused=True, retain_graph=True)
    return {name for (name, _), gradient in zip(named, gradients, strict=True) if gradient is not None and gradient.any()}


@pytest.mark.parametrize("method", ["ca", "an"])
def test_all_known_gives_no_gradient_to_the_hole_losses(method: str, two_stage_config: Build) -> None:
    """The known part is reconstructed by both stages, whose raw outputs that loss sees; with its weight 0 nothing is left."""
    config = two_stage_config(method, "objective.known_weight=0", "objective.orthogonality_weight=0")
    system, everything = system_of(config), torch.ones(8, 1, 16, 16)
    loss, scalars = system.objective.generator_phase(shard_of(system, "generator", everything))
    assert reached(loss, system.generator) == set() and scalars["loss/hole_l1"] == 0
    loss, _ = system.objective.generator_phase(shard_of(system, "generator", box()))
    assert {name.split(".")[0] for name in reached(loss, system.generator)} == {"coarse", "refinement"}


@pytest.mark.parametrize("method", ["ca", "an"])
def test_the_loss_of_the_generator_is_the_sum_of_its_terms(method: str, two_stage_config: Build) -> None:
    config = two_stage_config(method)
    system, known, weights = system_of(config), box(), config.objective
    shard = shard_of(system, "generator", known)
    images = shard.batch.images
    output = system.generator(images, known, shard.draws.positions)
    expected = -0.001 * system.discriminator(output.images, known).mean(dim=0).sum()
    importance = WEIGHTINGS[weights.weighting](known)
    for weight, made in ((1.2, output.coarse), (1.0, output.refined)):
        expected = expected + 1.2 * weight * ((made - images).abs() * importance).sum() / (8 * 3 * 64)
        expected = expected + 1.2 * weight * hole_l1(made, images, 1 - known)
    if method == "an":
        expected = expected + 0.0002 * output.penalty
    found, _ = system.objective.generator_phase(shard)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("method", ["ca", "an"])
def test_the_critics_loss_and_who_learns_from_it(method: str, two_stage_config: Build) -> None:
    system, known = system_of(two_stage_config(method)), box()
    shard = shard_of(system, "discriminator", known)
    images, shares = shard.batch.images, shard.draws.shares.view(-1, 1, 1, 1)
    fake = system.generator(images, known, shard.draws.positions).images.detach()
    between = (images + shares * (fake - images)).requires_grad_(True)
    judge = system.discriminator
    expected = (judge(fake, known) - judge(images, known)).mean(dim=0).sum()
    for critic in judge(between, known).unbind(dim=1):
        (gradient,) = torch.autograd.grad(critic.sum(), between, retain_graph=True)
        norms = (gradient * (1 - known)).flatten(1).norm(dim=1)
        expected = expected + 10 * ((norms - 1) ** 2).mean()
    loss, _ = system.objective.discriminator_phase(shard)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    learning = reached(loss, judge)
    assert all(name in learning for name, _ in judge.named_parameters() if name.endswith("convolution.weight"))
    assert reached(loss, system.generator) == set()


def test_the_local_critic_sees_the_window_alone(two_stage_config: Build) -> None:
    system, known = system_of(two_stage_config("ca")), box()
    images = torch.rand(8, 3, 16, 16)
    windows = hole_windows(images, known)
    assert windows.shape == (8, 3, 8, 8) and torch.equal(windows[0], images[0, :, 2:10, 3:11])
    values = system.discriminator(images, known)
    outside = images.clone()
    outside[:, :, 12:, 12:] += 1
    other = system.discriminator(outside, known)
    assert torch.equal(values[:, 1], other[:, 1]) and not torch.isclose(values[:, 0], other[:, 0]).any()


@pytest.mark.parametrize("method", ["ca", "an"])
def test_a_resumed_run_is_bit_identical(method: str, two_stage_config: Build, tmp_path: Path) -> None:
    config = two_stage_config(method)
    train(config, tmp_path / "whole")
    with stopped_at(5):
        assert 5 <= train(config, tmp_path / "parts").state.step < 10
    train(config, tmp_path / "parts")
    whole, parts = stored_weights(tmp_path / "whole", 10), stored_weights(tmp_path / "parts", 10)
    assert [name for name, value in whole.items() if not torch.equal(value, parts[name])] == []
    first = "coarse.0.0.convolution.weight"
    assert not torch.equal(whole[f"generator.{first}"], whole[f"ema_generator.{first}"])
    with pytest.raises(InputError, match=r"another architecture; it differs in generator.width \(4 there, 8 here\)"):
        train(two_stage_config(method, "generator.width=8"), tmp_path / "parts")
    with pytest.raises(InputError, match="holds a system 'two_stage_inpainting'; this needs a style-based generator"):
        load_generator(tmp_path / "whole")
    # What a trained model of this kind is: evaluated, sampled, reported, completed.
    system, loaded = load_system(tmp_path / "whole")
    assert isinstance(load_inpainting(tmp_path / "whole"), TwoStageInpaintingSystem)
    write_report(read_run(tmp_path / "whole"), loaded.method(), 16, system, "checkpoint", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Completions of held-out images" in page and f"inpainting by {method.upper()}" in page and "Wasserstein" in page
    assert torch.cat(list(system.sample_images(4, 2))).shape == (4, 3, 16, 16)


@pytest.mark.parametrize("method", ["ca", "an"])
def test_two_processes_and_two_rounds_equal_one(method: str, two_stage_config: Build, tmp_path: Path) -> None:
    """Ten steps, float64: masks, shares of the penalty and positions follow the position in the batch."""
    config = two_stage_config(method, "training.precision=float64")
    rounds = two_stage_config(method, "training.precision=float64", "training.accumulation_rounds=2")
    files = {"one": tmp_path / "one.yaml", "ranks": tmp_path / "ranks.yaml", "rounds": tmp_path / "rounds.yaml"}
    for name, file in files.items():
        file.write_text((rounds if name == "rounds" else config).to_yaml())
    for name, num_ranks in (("one", 1), ("ranks", 2), ("rounds", 1)):
        job = {"run_dir": str(tmp_path / name), "configs": [str(files[name])], "unlike_gradients": False}
        (tmp_path / f"{name}.json").write_text(json.dumps([job]))
        for ended in run_ranks(tmp_path / f"{name}-output", *[[JOBS, tmp_path / f"{name}.json"]] * num_ranks):
            assert ended.code == 0, ended.errors
    expected = stored_weights(tmp_path / "one", 10)
    for name in ("ranks", "rounds"):
        found = stored_weights(tmp_path / name, 10)
        for key, value in expected.items():
            assert (found[key] - value).abs().max() <= 1e-8 * value.abs().max().clamp_min(1), (name, key)


@pytest.mark.parametrize("method", ["ca", "an"])
def test_phases_scalars_and_description(method: str, two_stage_config: Build, tmp_path: Path) -> None:
    config = two_stage_config(method)
    trainer = train(config, tmp_path)
    assert [(phase.name, phase.interval) for phase in trainer.phases] == [("discriminator", 1), ("generator", 2)]
    run = read_run(tmp_path)
    for key in ("loss/discriminator", "loss/generator", "loss/gradient_penalty", "loss/hole_l1", "loss/weighted_l1"):
        assert run.series(key), key
    assert bool(run.series("loss/orthogonality")) == (method == "an")
    report = dry_run_report(config, trainer.state, "data")
    assert "refinement" in report and "width: 4" in report
    counted = count_step(config)
    assert counted.phases.keys() == {"discriminator", "generator"} and counted.flops_per_image > 0
    assert load_config(tmp_path / "config.yaml") == config
    assert config.tiny().resolution == 8 and config.method() == f"inpainting by {method.upper()}"


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_stays_near_float32(precision: str, two_stage_config: Build, tmp_path: Path) -> None:
    for name in ("float32", precision):
        train(two_stage_config("an", f"training.precision={name}"), tmp_path / name)
    one, two = (read_run(tmp_path / name).series("loss/hole_l1")[-1][1] for name in ("float32", precision))
    assert two == pytest.approx(one, rel=0.1)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("generator.refinement=attention", "generator.refinement must be one of contextual_attention, attentive_normalization"),
        ("generator.resolution=48", "generator.resolution must be a power of two from 8 to 1024, got 48"),
        ("generator.width=5", "generator.width must be even, got 5"),
        ("generator.num_regions=0", "generator.num_regions must be at least 1"),
        ("discriminator.kind=local", "discriminator.kind must be one of global_and_local, self_attention"),
        ("discriminator.width=0", "discriminator.width must be at least 1"),
        ("objective.weighting=flat", "objective.weighting must be one of discount, confidence"),
        ("objective.critic_steps=0", "objective.critic_steps must be at least 1"),
        ("objective.hole_weight=-1", "objective.hole_weight must not be negative"),
        ("optimizer.generator_learning_rate=0", "optimizer.generator_learning_rate must be positive"),
        ("optimizer.beta2=1", r"optimizer.beta2 must be in \[0, 1\), got 1"),
        ("optimizer.epsilon=-1", "optimizer.epsilon must not be negative"),
        ("training.augmentation.name=ada", "training.augmentation.name must be none"),
        ("data.mask.kind=none", "data.mask.kind must be one of center"),
    ],
)
def test_settings_that_do_not_fit(override: str, message: str, two_stage_config: Build) -> None:
    with pytest.raises(InputError, match=message):
        two_stage_config("ca", override)
