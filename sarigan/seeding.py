"""Seeds as pure functions of what they are for, so that no draw depends on the draws before it."""

import hashlib

from sarigan.errors import InputError

# PyTorch's CPU generator (mt19937) keeps the low 32 bits of its seed: seeds that differ by 2^32 give the same draws.
MAX_SEED = 2**32 - 1


def check_seed(name: str, seed: int) -> None:
    """InputError naming the field for a seed that PyTorch's CPU generator would take for another one."""
    if not 0 <= seed <= MAX_SEED:
        raise InputError(f"{name} must be 0 to {MAX_SEED}, got {seed}")


def derive_seed(*key: int | str) -> int:
    """A 63-bit seed from, say, (seed, phase, step): equal keys give equal seeds, different keys independent ones.

    Python's, NumPy's and CUDA's generators use all 63 bits, PyTorch's CPU generator the low 32. So of n draws on a CPU about
    n^2 / 2^33 pairs are the same one: 0.3 pairs of 50,000 latents of an evaluation, 116 pairs of a phase's million steps.
    More bits would change the draws of every seed there is.
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
