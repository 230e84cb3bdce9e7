"""What only a GPU can show: streams, devices, and tensors too large for 32-bit indices. (The grid runs there as a path.)"""

import pytest
import torch

from ops import bias_act, upfirdn2d
from ops._extension import implementation
from ops.upfirdn2d import resample_filter

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@pytest.fixture(autouse=True)
def native():
    with implementation("native"):
        yield


def test_work_goes_to_the_current_stream() -> None:
    """A kernel on another stream would read x before the slow product behind it has filled it."""
    stream = torch.cuda.Stream()
    source = torch.randn(4096, 4096, device="cuda")
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        x = source
        for _ in range(20):
            x = (x @ source) * 0.01
        y = bias_act(x, None, "relu", gain=1.0)
        z = upfirdn2d(x[None, None], resample_filter().cuda(), padding=1)
    stream.synchronize()
    torch.testing.assert_close(y, torch.relu(x))
    with implementation("reference"):
        torch.testing.assert_close(z, upfirdn2d(x[None, None], resample_filter().cuda(), padding=1), rtol=1e-4, atol=1e-2)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA device")
def test_work_goes_to_the_device_of_the_tensor() -> None:
    x = torch.randn(2, 3, 8, 8, device="cuda:1")
    assert torch.cuda.current_device() == 0
    y = upfirdn2d(bias_act(x), resample_filter().to(x.device), up=2, padding=(2, 1, 2, 1))
    with implementation("reference"):
        expected = upfirdn2d(bias_act(x), resample_filter().to(x.device), up=2, padding=(2, 1, 2, 1))
    torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("channels_last", [False, True])
def test_more_elements_than_32_bits_count(channels_last) -> None:
    shape = (2, 32, 6000, 6000)  # 2.3e9
    if torch.cuda.mem_get_info()[0] < 30e9:
        pytest.skip("needs 30 GB of free memory")
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.empty(shape, dtype=torch.bfloat16, device="cuda", memory_format=layout)
    x.fill_(0.25)
    x[-1, :, -64:, -64:] = torch.randn(32, 64, 64, device="cuda").bfloat16()
    bias = torch.linspace(-1, 1, 32, device="cuda")
    y = bias_act(x, bias)
    corner = x[-1:, :, -64:, -64:].contiguous()
    with implementation("reference"):
        torch.testing.assert_close(y[-1:, :, -64:, -64:], bias_act(corner.float(), bias).bfloat16())
    del y
    y = upfirdn2d(x, resample_filter().cuda(), padding=(2, 1, 2, 1))
    with implementation("reference"):
        expected = upfirdn2d(corner.float(), resample_filter().cuda(), padding=(2, 1, 2, 1)).bfloat16()
    torch.testing.assert_close(y[-1:, :, -32:, -32:], expected[:, :, -32:, -32:])
    y = upfirdn2d(x, torch.full((3,), 1 / 3, device="cuda"), down=3)  # the gathering kernel
    assert torch.all(y[0] == 0.25)
