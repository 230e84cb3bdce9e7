"""The CUDA sources compile, link and load where nvcc is, GPU or not."""

import subprocess
import sys

import pytest
import torch

from ops import build

LOADS = """
import sys
import torch

torch.ops.load_library(sys.argv[1])
operators = torch.ops.sarigan_cuda
x = torch.empty(2, 3, 8, 8, device="meta")
y = operators.upfirdn2d(x, torch.empty(4, device="meta"), [2, 2], [1, 1], [1, 1], [16, 16], False, 4.0)
assert y.shape == (2, 3, 16, 16) and operators.bias_act(x, None, 0.2, 1.0, -1.0).shape == x.shape
try:
    operators.bias_act(torch.zeros(2, 3), None, 0.2, 1.0, -1.0)
except (NotImplementedError, RuntimeError) as error:
    assert "CPU" in str(error)
else:
    raise AssertionError("a tensor on the CPU was taken")
"""


@pytest.fixture(scope="module")
def nvcc(writable_cache: None) -> str:
    if torch.version.cuda is None:
        pytest.skip("this torch is built without CUDA")
    try:
        return build._nvcc()
    except build.BuildError as error:
        pytest.skip(str(error))


def test_compiles_links_and_loads(nvcc: str) -> None:
    """One architecture; `scripts/compile_cuda.sh` does all. About a minute, once for each change of the sources."""
    library = build.build("cuda", ("8.0",))
    # In a process of its own: one with a GPU has these operators from another build, and PyTorch aborts at a second one.
    subprocess.run([sys.executable, "-c", LOADS, str(library)], check=True)


def test_device_code_is_for_the_architecture_asked_for(nvcc: str, tmp_path) -> None:
    commands, _ = build._commands("cuda", ("7.5", "9.0"), tmp_path)
    (kernels,) = [command for command in commands if any(part.endswith(".cu") for part in command)]
    assert [part for part in kernels if part.startswith("-gencode")] == [
        "-gencode=arch=compute_75,code=sm_75",
        "-gencode=arch=compute_90,code=sm_90",
    ]
    # The device compiler reads no torch header: that is where other extensions fail to build.
    included = subprocess.run([*kernels[:-2], "-M"], capture_output=True, text=True, check=True).stdout
    assert "device_upfirdn2d.h" in included and "torch/" not in included.replace("torch/lib", "")
