"""Freed memory is used again rather than asked of the system anew, seen in the page faults of a fresh process."""

import os
import subprocess
import sys

import pytest

from ops.host_memory import available_and_total_bytes

PROBE = """
import resource, sys
import torch
from ops.host_memory import keep_freed_memory

if sys.argv[1] == "keep" and not keep_freed_memory():
    print(-1)
    sys.exit()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.set_num_threads(1)
for _ in range(10):
    torch.zeros(12 << 20)
before = faults()
for _ in range(5):
    torch.zeros(12 << 20)
print(faults() - before)
"""


def page_faults(how: str) -> int:
    return int(subprocess.run([sys.executable, "-c", PROBE, how], capture_output=True, text=True, check=True).stdout)


def test_large_blocks_are_reused() -> None:
    kept = page_faults("keep")
    if kept < 0:
        pytest.skip("not glibc's allocator")
    pages = (48 << 20) // 4096
    assert kept < pages / 10 < pages <= page_faults("leave")


def test_available_memory_is_a_part_of_all() -> None:
    """All of it is what the C library counts, in pages."""
    found = available_and_total_bytes()
    assert (found is None) == (not sys.platform.startswith("linux"))
    if found is not None:
        assert 0 < found[0] <= found[1] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
