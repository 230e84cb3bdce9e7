"""Pictures as data URIs: WebP, since the page must hold everything and stay small."""

import base64
import io

from PIL import Image


def data_uri(image: Image.Image, quality: int = 86, max_side: int = 2400) -> str:
    """The picture, reduced until its longer side fits."""
    if max(image.size) > max_side:
        image = image.copy()
        image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "WEBP", quality=quality, method=5)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
