"""The generator as an ONNX graph: z and truncation in, images out, the noise fixed.

Fixed noise is a constant of the graph, the same for every sample, so that a z always gives the same image.
"""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from ops._extension import implementation
from sarigan.errors import InputError
from sarigan.models.generator import Generator

OPSET = 17


class FixedNoiseGenerator(nn.Module):
    """z [N,z_dim], truncation_psi a scalar -> images [N,3,R,R], with the noise of `noise="fixed"`. With classes labels [N]."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator
        latents = torch.zeros(1, generator.num_latents, generator.config.w_dim).to(generator.mean_latent)
        for index, noise in enumerate(generator.draw_noise(latents, "fixed")):
            self.register_buffer(f"noise_{index}", noise)

    def forward(self, z: Tensor, truncation_psi: Tensor, labels: Tensor | None = None) -> Tensor:
        generator = self.generator
        latents = generator.latents(z, labels=labels)
        centre = generator.truncation_centre(latents)
        latents = centre + truncation_psi * (latents - centre)
        noise = [getattr(self, f"noise_{index}") for index in range(len(generator.synthesis.noise_shapes()))]
        return generator.synthesize(latents, noise).images


def export_onnx(generator: Generator, path: Path) -> None:
    """Write the graph; N is free. InputError when the package `onnx` is missing or the file cannot be written."""
    try:
        import onnx
    except ImportError:
        raise InputError('ONNX export needs the package onnx: pip install -e ".[export]" in the checkout') from None
    module = FixedNoiseGenerator(generator).eval()
    z = torch.zeros(2, generator.config.z_dim).to(generator.mean_latent)
    psi = torch.ones(()).to(generator.mean_latent)
    labels = generator.draw_labels(2, 0)
    inputs = {"z": z, "truncation_psi": psi} | ({} if labels is None else {"labels": labels})
    free = {name: {0: "batch"} for name in (*inputs, "images") if name != "truncation_psi"}
    path.parent.mkdir(parents=True, exist_ok=True)
    with implementation("reference"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                module, tuple(inputs.values()), str(path), input_names=[*inputs], output_names=["images"],
                dynamic_axes=free, opset_version=OPSET, dynamo=False,
            )  # fmt: skip
        except OSError as error:
            raise InputError(f"{path}: cannot write the ONNX graph ({error.strerror})") from None
    onnx.checker.check_model(str(path))
