"""Seeds as pure functions of what they are for, so that no draw depends on the draws before it."""

import hashlib


def derive_seed(*key: int | str) -> int:
    """A 63-bit seed from, say, (seed, phase, step): equal keys give equal seeds, different keys independent ones."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
