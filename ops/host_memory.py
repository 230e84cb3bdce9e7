"""Memory of the host: keeping what is freed for the next layer when computing on a CPU, and how much there is.

glibc gives every block above 32 MB (the features of one layer) back to the system when it is freed and asks for it anew in
the next layer; the kernel then clears its pages each time, a fifth of a step's time at config-E widths (docs/benchmarks.md).
"""

import ctypes
import sys
from pathlib import Path

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # of <malloc.h>
_TOP_PAD_BYTES = 64 << 20
_LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> bool:
    """Make the allocator of this process reuse large blocks; False where it is not glibc's."""
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    settings = {_MMAP_MAX: 0, _TRIM_THRESHOLD: _LARGEST_INT, _TOP_PAD: _TOP_PAD_BYTES}
    accepted = [library.mallopt(name, value) == 1 for name, value in settings.items()]
    return all(accepted)


def available_and_total_bytes() -> tuple[int, int] | None:
    """What the kernel says programs can still take, and all there is; None where it is not Linux."""
    if not sys.platform.startswith("linux"):
        return None
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines() if ":" in line)
    available, total = (int(fields[name].split()[0]) * 1024 for name in ("MemAvailable", "MemTotal"))
    return available, total
