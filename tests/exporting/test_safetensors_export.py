"""Exports: the same images as the checkpoint's, without the training code; ONNX equal to PyTorch."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save

from sarigan.errors import InputError
from sarigan.exporting.safetensors_export import CONFIG_NAME, WEIGHTS_NAME, load_exported, save_exported
from sarigan.models.generator import Generator

Build = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[2]

# What training needs and using a generator does not.
LOAD_ALONE = """
import sys
for name in ("omegaconf", "lmdb", "tensorboard", "PIL", "tqdm", "scipy", "yaml", "torchvision"):
    sys.modules[name] = None
import torch
from sarigan.exporting.safetensors_export import load_exported
generator = load_exported(sys.argv[1])
assert not any(name.startswith(("sarigan.training", "sarigan.config", "sarigan.data")) for name in sys.modules)
torch.save(generator(torch.load(sys.argv[2]), noise="fixed", truncation_psi=0.7).images, sys.argv[3])
"""


@pytest.fixture
def generator(tiny_config: Build, tiny_state: Build) -> Generator:
    found = tiny_state(tiny_config("generator.resolution=16")).system.average.module
    found.update_mean_latent(100)
    return found


def test_an_export_loads_without_what_training_needs(generator: Generator, tmp_path: Path) -> None:
    save_exported(generator, tmp_path / "export", {"seen_kimg": 1.0})
    assert sorted(path.name for path in (tmp_path / "export").iterdir()) == [CONFIG_NAME, WEIGHTS_NAME]
    z = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    torch.save(z, tmp_path / "z.pt")
    arguments = [str(tmp_path / name) for name in ("export", "z.pt", "images.pt")]
    done = subprocess.run([sys.executable, "-c", LOAD_ALONE, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = generator(z, noise="fixed", truncation_psi=0.7).images
    torch.testing.assert_close(torch.load(tmp_path / "images.pt"), expected, rtol=1e-5, atol=1e-6)


def test_damaged_or_missing_exports_are_one_line(generator: Generator, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="generator.json: cannot be read .No such file.*; an exported generator is"):
        load_exported(tmp_path)
    save_exported(generator, tmp_path, {})
    content = bytearray((tmp_path / WEIGHTS_NAME).read_bytes())
    content[-3] ^= 1
    (tmp_path / WEIGHTS_NAME).write_bytes(content)
    with pytest.raises(InputError, match="truncated or damaged"):
        load_exported(tmp_path)
    description = json.loads((tmp_path / CONFIG_NAME).read_text())
    (tmp_path / CONFIG_NAME).write_text(json.dumps({**description, "export_version": 9}))
    with pytest.raises(InputError, match="export version 9"):
        load_exported(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w * torch.nan, "holds numbers that are not finite"),
        (lambda w: w.to(torch.int64), "must be floating-point numbers, got torch.int64"),
        (lambda w: w > 0, "must be floating-point numbers, got torch.bool"),
    ],
)
def test_weights_that_are_no_weights(
    change: Callable[[torch.Tensor], torch.Tensor], message: str, generator: Generator, tmp_path: Path
) -> None:
    save_exported(generator, tmp_path, {})
    weights = load_file(tmp_path / WEIGHTS_NAME)
    content = save({k: change(v) if v.is_floating_point() else v for k, v in weights.items()})
    (tmp_path / WEIGHTS_NAME).write_bytes(content)
    description = json.loads((tmp_path / CONFIG_NAME).read_text())
    description["sha256"] = hashlib.sha256(content).hexdigest()
    (tmp_path / CONFIG_NAME).write_text(json.dumps(description))
    with pytest.raises(InputError, match=message):
        load_exported(tmp_path)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("generator.synthesis=adain", "generator.grouping.kind=none"),
        ("generator.form=activation", "generator.style_biases=true"),
    ],
    ids=["sarigan", "stylegan", "activation-form"],
)
def test_onnx_equals_pytorch(overrides: tuple[str, ...], tiny_config: Build, tiny_state: Build, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="ONNX graphs are run with onnxruntime")
    pytest.importorskip("onnx", reason="ONNX export needs the package onnx")
    from sarigan.exporting.onnx_export import export_onnx

    generator = tiny_state(tiny_config("generator.resolution=16", *overrides)).system.average.module
    generator.update_mean_latent(100)
    export_onnx(generator, tmp_path / "generator.onnx")
    session = runtime.InferenceSession(str(tmp_path / "generator.onnx"), providers=["CPUExecutionProvider"])
    for n, psi in ((1, 1.0), (3, 0.7), (5, 1.0)):  # the batch is free
        z = torch.randn(n, 8, generator=torch.Generator().manual_seed(n))
        feed = {"z": z.numpy(), "truncation_psi": torch.tensor(psi).numpy()}
        (images,) = session.run(None, {name: feed[name] for name in (i.name for i in session.get_inputs())})
        expected = generator(z, noise="fixed", truncation_psi=psi).images
        assert images.shape == expected.shape and (torch.from_numpy(images) - expected).abs().max() < 1e-4
