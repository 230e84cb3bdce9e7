"""Rebuild the avatar atlas (sarigan/data/avatars/atlas/avatars.npz) from the SVG parts of python-avatars (PyPI, MIT).

Each part is rasterised alone on one common canvas. Painting is linear in the tint, so a black and a white rendering
separate it into alpha, tint coverage and fixed colour: premultiplied colour = tint_coverage * tint + fixed.
Needs the dev extras python-avatars and resvg-py; nobody needs this script to use the data set.
"""

import argparse
import io
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from sarigan.data.avatars.attributes import CHOICES
from sarigan.data.avatars.parts import ATLAS_PATH, CANVAS_HEIGHT, CANVAS_ORIGIN, CANVAS_WIDTH, PIXELS_PER_UNIT

HREF = "{http://www.w3.org/1999/xlink}href"

# Part kind -> (group of the python-avatars template that holds it, keyword of Avatar, keyword of its colour).
KINDS = {
    "body": ("Body", None, "skin_color"),
    "clothes": ("Clothing", "clothing", "clothing_color"),
    "mouth": ("Mouth", "mouth", None),
    "nose": ("Nose", "nose", None),
    "eyes": ("Eyes", "eyes", None),
    "brows": ("Eyebrow", "eyebrows", None),
    "beard": ("Top", "facial_hair", "facial_hair_color"),
    "hair": ("Top", "top", "hair_color"),
    "glasses": ("Top", "accessory", None),
}


def render_part(kind: str, style: str, tint: str) -> np.ndarray:
    """One part alone: premultiplied RGBA float64 [canvas height, canvas width, 4], values in [0, 255]."""
    import python_avatars as pa
    import resvg_py

    group, keyword, color_keyword = KINDS[kind]
    enums = {
        "clothing": pa.ClothingType, "mouth": pa.MouthType, "nose": pa.NoseType, "eyes": pa.EyeType,
        "eyebrows": pa.EyebrowType, "facial_hair": pa.FacialHairType, "top": pa.HairType, "accessory": pa.AccessoryType,
    }  # fmt: skip
    arguments = {
        "top": pa.HairType.NONE,
        "facial_hair": pa.FacialHairType.NONE,
        "accessory": pa.AccessoryType.NONE,
        "clothing": pa.ClothingType.NONE,
    }
    if keyword is not None:
        arguments[keyword] = enums[keyword][style.upper()]
    if color_keyword is not None:
        arguments[color_keyword] = tint
    root = ElementTree.fromstring(pa.Avatar(style=pa.AvatarStyle.TRANSPARENT, **arguments).render())

    for parent in list(root.iter()):
        for child in list(parent):
            name = child.get("id", "")
            if name.startswith("transparent_") and name[12:] in {entry[0] for entry in KINDS.values()} - {group}:
                parent.remove(child)
            elif name.endswith(("Hair-Color", "Skin-Color", "Fabric-Color")) and child.get("mask") is not None:
                _clear_underlay(parent, child)
    units = (CANVAS_WIDTH / PIXELS_PER_UNIT, CANVAS_HEIGHT / PIXELS_PER_UNIT)
    root.set("viewBox", f"{CANVAS_ORIGIN} {CANVAS_ORIGIN} {units[0]} {units[1]}")
    root.set("width", str(CANVAS_WIDTH))
    root.set("height", str(CANVAS_HEIGHT))

    png = resvg_py.svg_to_bytes(svg_string=ElementTree.tostring(root, encoding="unicode"), skip_system_fonts=True)
    pixels = np.asarray(Image.open(io.BytesIO(bytes(png)), formats=("PNG",)).convert("RGBA"), dtype=np.float64)
    if pixels.shape != (CANVAS_HEIGHT, CANVAS_WIDTH, 4):
        raise RuntimeError(f"{kind}/{style}: rendered {pixels.shape}, expected {(CANVAS_HEIGHT, CANVAS_WIDTH, 4)}")
    pixels[..., :3] *= pixels[..., 3:] / 255
    return pixels


def _clear_underlay(parent: ElementTree.Element, tinted: ElementTree.Element) -> None:
    """Drop the shape that a tinted group covers exactly: its stock colour would shine through at the soft edge."""
    mask = next(element for element in parent.iter() if f"url(#{element.get('id')})" == tinted.get("mask"))
    shape = mask[0].get(HREF)
    for child in list(parent):
        if child.tag.endswith("}use") and child.get(HREF) == shape:
            parent.remove(child)


def separate(kind: str, style: str) -> dict[str, np.ndarray]:
    """The planes of one part, cropped to its bounding box: corner, alpha and, unless empty, tint and fixed."""
    black, white = render_part(kind, style, "#000000"), render_part(kind, style, "#FFFFFF")
    alpha, fixed = black[..., 3], black[..., :3]
    tint = (white[..., :3] - fixed).mean(axis=-1)

    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    top, left = rows[0], columns[0]
    box = (slice(top, rows[-1] + 1), slice(left, columns[-1] + 1))
    planes = {"corner": np.array([top, left], dtype=np.int16), "alpha": np.rint(alpha[box]).astype(np.uint8)}
    if tint.max() > 1:
        planes["tint"] = np.rint(tint[box]).astype(np.uint8)
    if fixed.max() > 1:
        planes["fixed"] = np.rint(fixed[box]).astype(np.uint8).transpose(2, 0, 1)
    return planes


def main() -> None:
    """Rasterise every part and write the atlas."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ATLAS_PATH, help="the .npz file to write")
    arguments = parser.parse_args()

    arrays: dict[str, np.ndarray] = {}
    for kind in KINDS:
        styles = ["default"] if kind == "body" else [style for style in CHOICES[kind] if style != "none"]
        for style in styles:
            arrays.update({f"{kind}/{style}/{plane}": array for plane, array in separate(kind, style).items()})
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(arguments.output, **arrays)  # type: ignore[arg-type]
    print(f"{arguments.output}: {arguments.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
