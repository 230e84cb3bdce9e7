"""DINOv2 against a slow float64 loop, torch-fidelity's extractor and Meta's code, with random weights of small widths."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2

from sarigan.errors import InputError
from sarigan.metrics.catalogue import METRICS, evaluate
from sarigan.metrics.config import EvaluationConfig
from sarigan.metrics.evaluation import Evaluation
from sarigan.models.feature_networks import dinov2
from sarigan.models.feature_networks.dinov2 import DinoV2, resized_positions
from sarigan.models.feature_networks.feature_network import TF, metric_name
from sarigan.models.feature_networks.networks_by_name import open_network

WIDTH, DEPTH, GRID = 128, 2, 37  # two heads; patches of 14 px in 518 px, the size of DINOv2's last training


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the names of Meta's file, of which every one changes the features."""
    source = torch.Generator().manual_seed(0)

    def draw(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return scale * torch.randn(*shape, generator=source)

    def linear(name: str, inputs: int, outputs: int) -> dict[str, torch.Tensor]:
        return {f"{name}.weight": draw(outputs, inputs, scale=1.5 * inputs**-0.5), f"{name}.bias": draw(outputs, scale=0.2)}

    def norm(name: str) -> dict[str, torch.Tensor]:
        return {f"{name}.weight": 1 + draw(WIDTH, scale=0.2), f"{name}.bias": draw(WIDTH, scale=0.2)}

    state = {
        "cls_token": draw(1, 1, WIDTH), "pos_embed": draw(1, 1 + GRID**2, WIDTH), "mask_token": draw(1, WIDTH),
        "patch_embed.proj.weight": draw(WIDTH, 3, 14, 14, scale=0.05), "patch_embed.proj.bias": draw(WIDTH),
    }  # fmt: skip
    for block in (f"blocks.{index}" for index in range(DEPTH)):
        state |= norm(f"{block}.norm1") | linear(f"{block}.attn.qkv", WIDTH, 3 * WIDTH)
        state |= linear(f"{block}.attn.proj", WIDTH, WIDTH) | {f"{block}.ls1.gamma": draw(WIDTH)} | norm(f"{block}.norm2")
        state |= linear(f"{block}.mlp.fc1", WIDTH, 4 * WIDTH) | linear(f"{block}.mlp.fc2", 4 * WIDTH, WIDTH)
        state |= {f"{block}.ls2.gamma": draw(WIDTH)}
    path = tmp_path_factory.mktemp("dinov2") / "weights.pth"
    torch.save(state | norm("norm"), path)
    return path


@pytest.fixture(scope="module")
def network(weights: Path) -> DinoV2:
    return DinoV2(weights, sha256=None)


def cubic(distance: float) -> float:
    """Keys' kernel with a = -3/4, as PyTorch has it."""
    a, x = -0.75, abs(distance)
    if x <= 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0


def position_matrix(side: int) -> np.ndarray:
    """[side, GRID]: what each old row of patches gives to each new one; beyond the grid its edge is repeated."""
    found = np.zeros((side, GRID))
    for new in range(side):
        place = (new + 0.5) * GRID / (side + 0.1) - 0.5
        for old in range(math.floor(place) - 1, math.floor(place) + 3):
            found[new, min(max(old, 0), GRID - 1)] += cubic(place - old)
    return found


def reference(state: dict[str, torch.Tensor], image: np.ndarray) -> np.ndarray:
    """The class token of one normalised image [3,224,224]: float64, patch by patch, head by head, query by query."""
    w = {name: value.double().numpy() for name, value in state.items()}

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centered = x - x.mean(axis=-1, keepdims=True)
        return centered / np.sqrt((centered**2).mean(axis=-1, keepdims=True) + 1e-6) * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    rows = position_matrix(16)
    positions = np.einsum("ia,jb,abc->ijc", rows, rows, w["pos_embed"][0, 1:].reshape(GRID, GRID, WIDTH))
    tokens = [w["cls_token"][0, 0] + w["pos_embed"][0, 0]]
    for i in range(16):
        for j in range(16):
            patch = image[:, 14 * i : 14 * i + 14, 14 * j : 14 * j + 14]
            tokens.append(
                (w["patch_embed.proj.weight"] * patch).sum(axis=(1, 2, 3)) + w["patch_embed.proj.bias"] + positions[i, j]
            )
    x = np.stack(tokens)
    for block in (f"blocks.{index}" for index in range(DEPTH)):
        queries, keys, values = np.split(linear(norm(x, f"{block}.norm1"), f"{block}.attn.qkv"), 3, axis=1)
        mixed = np.zeros_like(x)
        for head in (slice(0, 64), slice(64, 128)):
            for t in range(len(x)):
                share = np.exp(keys[:, head] @ queries[t, head] / 8)
                mixed[t, head] = share @ values[:, head] / share.sum()
        x = x + w[f"{block}.ls1.gamma"] * linear(mixed, f"{block}.attn.proj")
        y = linear(norm(x, f"{block}.norm2"), f"{block}.mlp.fc1")
        y = y * (1 + np.vectorize(math.erf)(y / math.sqrt(2))) / 2
        x = x + w[f"{block}.ls2.gamma"] * linear(y, f"{block}.mlp.fc2")
    return norm(x, "norm")[0]


def test_features_by_a_slow_loop(weights: Path, network: DinoV2) -> None:
    state = torch.load(weights, weights_only=True)
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    found = network.extract(images)
    assert found.features.shape == (2, WIDTH) and found.logits is None and network.dimension == WIDTH
    for features, image in zip(found.features, images, strict=True):
        np.testing.assert_allclose(features.numpy(), reference(state, image.double().numpy()), rtol=1e-3, atol=2e-5)
    assert not network.training and not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("side", [16, 20, GRID])
def test_positions(side: int) -> None:
    positions = torch.randn(1, GRID**2, 5, generator=torch.Generator().manual_seed(0))
    found = resized_positions(positions, side)
    rows = position_matrix(side) if side != GRID else np.eye(GRID)
    expected = np.einsum("ia,jb,abc->ijc", rows, rows, positions.double().numpy().reshape(GRID, GRID, 5))
    np.testing.assert_allclose(found.numpy().reshape(side, side, 5), expected, atol=1e-5)


def test_images_are_prepared_as_in_torch_fidelity(network: DinoV2, monkeypatch: pytest.MonkeyPatch) -> None:
    """From uint8 images of any size to features, with one transformer in both."""

    class Transformer(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return network.extract(x).features

    asked = []
    monkeypatch.setattr(torch.hub, "load", lambda *names: asked.append(names) or Transformer())
    extractor = FeatureExtractorDinoV2("dinov2-vit-l-14", ["dinov2"])
    assert asked == [("facebookresearch/dinov2", "dinov2_vitl14")]
    for size in (64, 224, 300):
        images = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(size))
        (expected,) = extractor(images)
        torch.testing.assert_close(network(images, TF).features, expected, rtol=1e-4, atol=1e-4)


def test_features_are_those_of_metas_code(weights: Path, network: DinoV2) -> None:
    models = pytest.importorskip("dinov2.models.vision_transformer", reason="the PyPI package dinov2 is not installed")
    layers = pytest.importorskip("dinov2.layers")
    block = partial(layers.NestedTensorBlock, attn_class=layers.MemEffAttention)
    shape = {"embed_dim": WIDTH, "depth": DEPTH, "num_heads": WIDTH // 64, "img_size": 518, "patch_size": 14}
    meta = models.DinoVisionTransformer(**shape, init_values=1.0, ffn_layer="mlp", block_chunks=0, block_fn=block)
    meta.load_state_dict(torch.load(weights, weights_only=True))
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(network.extract(images).features, meta.eval()(images), rtol=1e-3, atol=1e-5)


def test_only_the_published_file_is_dinov2(weights: Path, network: DinoV2, tmp_path: Path) -> None:
    assert network.name == f"dinov2-{network.sha256[:8]}" and metric_name("fid", network) == f"fd_{network.name}"
    with pytest.raises(InputError, match=r"weights.pth: not Meta's DINOv2 ViT-L/14 .* its SHA256 is .*, .* is d5383ea8"):
        open_network("dinov2", weights=weights)
    with pytest.raises(InputError, match="expected ffff"):
        DinoV2(weights, sha256="ffff")


@pytest.mark.parametrize("broken", ["bytes", "list", "registers", "without positions", "a block that is cut off"])
def test_another_file_is_one_line(broken: str, weights: Path, tmp_path: Path) -> None:
    state, path = torch.load(weights, weights_only=True), tmp_path / "w.pth"
    if broken == "registers":
        state["register_tokens"] = torch.zeros(1, 4, WIDTH)
    elif broken == "without positions":
        del state["pos_embed"]
    elif broken == "a block that is cut off":
        del state["blocks.1.mlp.fc2.bias"]
    torch.save([1] if broken == "list" else state, path)
    if broken == "bytes":
        path.write_bytes(b"an error page")
    with pytest.raises(InputError, match=r"w.pth: not a readable file of weights of DINOv2 without registers \(") as caught:
        DinoV2(path, sha256=None)
    assert "\n" not in str(caught.value)


def test_without_weights_and_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_evaluation: Callable) -> None:
    """Said before any image is made, in one line, with everything that is needed to get them."""
    monkeypatch.delenv("SARIGAN_DINOV2", raising=False)
    monkeypatch.setenv("SARIGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    with pytest.raises(InputError) as caught:
        evaluate(as_evaluation(), ["fd_dinov2"])
    message, file = str(caught.value), dinov2.WEIGHTS
    assert "\n" not in message
    assert all(part in message for part in (*file.file_names, file.url, file.sha256, "$SARIGAN_DINOV2", "fd_efficientnet"))
    with pytest.raises(InputError, match="absent.pth: no such file; Meta's DINOv2 .* is published at https://dl.fbaipublic"):
        evaluate(as_evaluation(dinov2_weights=Path("absent.pth")), ["kid_dinov2"])


@pytest.fixture
def as_evaluation() -> Callable[..., Evaluation]:
    """as_evaluation(**protocol): of 12 images against 12 others."""

    class Images:
        resolution = 28

        def __init__(self, seed: int) -> None:
            source = torch.Generator().manual_seed(seed)
            self.images = torch.randint(0, 128 + 64 * seed, (12, 3, 28, 28), generator=source, dtype=torch.uint8).numpy()

        def __len__(self) -> int:
            return len(self.images)

        def __getitem__(self, index: int) -> np.ndarray:
            return self.images[index]

        def describe(self) -> str:
            return "test images"

    def build(**protocol: object) -> Evaluation:
        config = EvaluationConfig(**protocol)  # type: ignore[arg-type]
        return Evaluation(config, torch.device("cpu"), images=Images(0), data=Images(1))

    return build


def test_the_metrics_in_its_features(network: DinoV2, as_evaluation: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is there under the name of the network, which the published file alone has."""
    monkeypatch.setattr(network, "name", "dinov2")
    evaluation = as_evaluation()
    evaluation.networks["dinov2"] = network
    names = [name for name in METRICS if name.endswith("_dinov2")]
    report = evaluate(evaluation, names)
    assert set(report.values()) == {
        "fd_dinov2", "kid_dinov2", "precision_dinov2", "recall_dinov2", "density_dinov2", "coverage_dinov2",
        "sliced_wasserstein_dinov2",
    }  # fmt: skip
    features = [network(torch.from_numpy(data.images)).features.double() for data in (evaluation.images, evaluation.data)]
    mean = float((features[0].mean(dim=0) - features[1].mean(dim=0)).square().sum())
    roots = [torch.linalg.svd(x - x.mean(dim=0), full_matrices=False) for x in features]
    # tr (A^(1/2) B A^(1/2))^(1/2) with A = X^T X / 11: the nuclear norm of X Y^T / 11.
    cross = torch.linalg.svdvals((roots[0].S[:, None] * roots[0].Vh) @ (roots[1].S[:, None] * roots[1].Vh).T).sum() / 11
    spread = sum(float((root.S**2).sum()) / 11 for root in roots)
    assert report.values()["fd_dinov2"] == pytest.approx(mean + spread - 2 * float(cross), rel=1e-4)
