"""Which random transforms the discriminator's images pass through, and how often: ADA or DiffAugment."""

from dataclasses import dataclass, field

from sarigan.errors import InputError, require_at_least_1, require_at_most

# ADA's transforms in the order in which they are applied (Karras et al. 2020, "Training GANs with Limited Data", app. B).
BLIT = ("xflip", "rotate90", "xint")
GEOMETRY = ("scale", "rotate", "aniso", "xfrac")
COLOR = ("brightness", "contrast", "lumaflip", "hue", "saturation")
ADA = (*BLIT, *GEOMETRY, *COLOR, "imgfilter", "noise", "cutout")
DIFFAUGMENT = ("color", "translation", "cutout")
PRESETS: dict[str, tuple[str, ...]] = {
    "blit": BLIT,
    "geom": GEOMETRY,
    "color": COLOR,
    "filter": ("imgfilter",),
    "bg": (*BLIT, *GEOMETRY),
    "bgc": (*BLIT, *GEOMETRY, *COLOR),
    "bgcf": (*BLIT, *GEOMETRY, *COLOR, "imgfilter"),
    "bgcfn": (*BLIT, *GEOMETRY, *COLOR, "imgfilter", "noise"),
    "bgcfnc": ADA,
}
# These move pixels: they part an image from a layout or mask that stays where it is.
MOVING = frozenset((*BLIT, *GEOMETRY, "translation"))


@dataclass(frozen=True)
class AugmentationConfig:
    """What the discriminator sees in place of the images, real and generated alike (docs/small-data.md)."""

    name: str = "none"  # none | ada | diffaugment
    # Names of transforms, or of sets of them. Empty: as published, [bgc] of ada, [color, translation, cutout] of diffaugment
    transforms: list[str] = field(default_factory=list)
    p: float | None = None  # probability of each transform of an image; null: ada adapts it, diffaugment takes 1
    target: float = 0.6  # of the mean sign of D's logits on real images, where p is adapted
    speed_kimg: float = 500.0  # thousand images in which p can go from 0 to 1
    interval: int = 4  # steps from one adjustment of p to the next

    def __post_init__(self) -> None:
        if self.name not in ("none", "ada", "diffaugment"):
            raise InputError(f"training.augmentation.name must be one of none, ada, diffaugment, got {self.name!r}")
        known = (*ADA, *PRESETS) if self.name == "ada" else DIFFAUGMENT
        for transform in self.transforms if self.name != "none" else ():
            if transform not in known:
                raise InputError(
                    f"training.augmentation.transforms of {self.name} must be among {', '.join(dict.fromkeys(known))},"
                    f" got {transform!r}"
                )
        if self.p is not None and not 0 <= self.p <= 1:
            raise InputError(f"training.augmentation.p must be 0 to 1, or null, got {self.p}")
        if not -1 <= self.target <= 1:
            raise InputError(f"training.augmentation.target must be -1 to 1, got {self.target}")
        if self.speed_kimg <= 0:
            raise InputError(f"training.augmentation.speed_kimg must be positive, got {self.speed_kimg}")
        require_at_least_1(self, "interval", prefix="training.augmentation.")
        require_at_most("training.augmentation", self, speed_kimg=10**9, interval=1 << 20)

    @property
    def is_adaptive(self) -> bool:
        """Whether p follows the discriminator."""
        return self.name == "ada" and self.p is None

    def chosen(self) -> tuple[str, ...]:
        """The single transforms, without repetition, in the order in which they are applied; none for name=none."""
        if self.name == "none":
            return ()
        if self.name == "diffaugment":
            return tuple(name for name in DIFFAUGMENT if not self.transforms or name in self.transforms)
        named = {single for name in self.transforms or ["bgc"] for single in PRESETS.get(name, (name,))}
        return tuple(name for name in ADA if name in named)
