"""How many channels a resolution has (Karras et al. 2020, StyleGAN2): min(base / 2^(log2 R - 1), maximum)."""

from sarigan.errors import InputError


def channels_at(resolution: int, channel_base: int, channel_max: int) -> int:
    """Config E: base 8192, config F: base 16384, maximum 512 for both."""
    return min(2 * channel_base // resolution, channel_max)


def block_resolutions(resolution: int) -> list[int]:
    """4, 8, ..., R."""
    return [2**level for level in range(2, resolution.bit_length())]


def check_widths(section: str, resolution: int, channel_base: int, channel_max: int) -> None:
    """InputError naming the field when the resolution or the widths make no network."""
    if resolution < 8 or resolution & (resolution - 1):
        raise InputError(f"{section}.resolution must be a power of two and at least 8, got {resolution}")
    for name, value, largest in (
        ("resolution", resolution, 8192), ("channel_base", channel_base, 1 << 20), ("channel_max", channel_max, 16_384)
    ):  # fmt: skip
        if value > largest:
            raise InputError(f"{section}.{name} must be at most {largest:,}, got {value}")
    if channel_max < 1:
        raise InputError(f"{section}.channel_max must be at least 1, got {channel_max}")
    if channels_at(resolution, channel_base, channel_max) < 1:
        raise InputError(
            f"{section}.channel_base must be at least {resolution // 2} at resolution {resolution}, got {channel_base}"
        )
