"""StyleGAN's synthesis network, step by step."""

import torch
from torch.nn import functional as F

from sarigan.layers.grouping import GroupingConfig
from sarigan.models.generator import Generator, GeneratorConfig
from sarigan.models.synthesis_adain import AdaINLayer, AdaINSynthesis

NONE = GroupingConfig(kind="none")


def test_up_layer_is_repetition_convolution_blur() -> None:
    torch.manual_seed(0)
    layer = AdaINLayer(3, 4, style_dim=5, up=True).double()
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    latent, noise = torch.randn(2, 5, dtype=torch.float64), torch.randn(2, 1, 8, 8, dtype=torch.float64)
    larger = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    y = F.conv2d(larger, layer.convolution.weight / 27**0.5, padding=1)
    taps = torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64) / 4
    y = F.conv2d(y, torch.outer(taps, taps).expand(4, 1, 3, 3), padding=1, groups=4)
    torch.testing.assert_close(layer(x, latent, noise), layer.epilogue(y, latent, noise))


def test_structure_at_1024() -> None:
    with torch.device("meta"):
        generator = Generator(GeneratorConfig(resolution=1024, synthesis="adain", grouping=NONE))
    synthesis = generator.synthesis
    assert isinstance(synthesis, AdaINSynthesis)
    assert generator.num_latents == 18 and generator.config.w_dim == 512
    assert len(synthesis.layers) == 17 and synthesis.noise_shapes()[:3] == [(4, 4), (4, 4), (8, 8)]
    assert len(synthesis.noise_shapes()) == 18
    assert [layer.blur is not None for layer in synthesis.layers] == [False] + [True, False] * 8
    assert synthesis.to_rgb.weight.shape == (3, 16, 1, 1)  # one, at the end
    assert generator.grouped_layers() == [] and generator.grouping_parameters() == []


def test_constant_of_ones_with_its_own_epilogue() -> None:
    synthesis = AdaINSynthesis(16, 8, 64, 8)
    assert (synthesis.constant == 1).all() and synthesis.constant.requires_grad
    strengths = [p for name, p in synthesis.named_parameters() if name.endswith("noise.strength")]
    assert len(strengths) == 6 and all(p.shape == (8, 1, 1) and (p == 0).all() for p in strengths)


def test_epilogue_i_takes_latent_i_and_noise_i() -> None:
    torch.manual_seed(0)
    synthesis = AdaINSynthesis(8, 8, 64, 8).double()
    with torch.no_grad():
        for name, parameter in synthesis.named_parameters():
            if name.endswith(("noise.strength", "bias")):
                parameter.normal_()
    latents = torch.randn(2, 4, 8, dtype=torch.float64)
    noise = [torch.randn(2, 1, r, r, dtype=torch.float64) for r in (4, 4, 8, 8)]
    x = synthesis.first_epilogue(torch.ones(2, 8, 4, 4, dtype=torch.float64), latents[:, 0], noise[0])
    for index, layer in enumerate(synthesis.layers, start=1):
        x = layer(x, latents[:, index], noise[index])
    expected = torch.einsum("oc,nchw->nohw", synthesis.to_rgb.weight[:, :, 0, 0] / 8**0.5, x)
    expected = expected + synthesis.rgb_bias[:, None, None]
    output = synthesis(latents, noise)
    torch.testing.assert_close(output.images, expected)
    assert output.codes == {}
