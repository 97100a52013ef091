"""Small pictures for the page, as data URLs, because the page loads nothing."""

import base64
import functools
import io
from collections.abc import Sequence

import numpy as np

from mnist_blocks.spec import IMAGE_SIZE

FOR, AGAINST = (0, 114, 178), (213, 94, 0)
"""Blue and vermilion of Okabe and Ito's colour-blind safe palette."""
SQUARE_PIXELS = 7
"""Side of one square of a map: it holds a dot."""


@functools.cache
def image_picture(pixels: bytes) -> str:
    """A test image, white on black."""
    return _png_url(np.frombuffer(pixels, np.uint8).reshape(IMAGE_SIZE, IMAGE_SIZE))


def evidence_picture(values: Sequence[Sequence[float]]) -> str:
    """A map of contributions to a sum: stronger is darker, and negative ones have a dot."""
    parts = np.asarray(values)
    strengths = np.abs(parts) / max(np.abs(parts).max(), 1e-12)
    colours = np.where(parts[..., None] >= 0, FOR, AGAINST)
    squares = 255 - strengths[..., None] * (255 - colours)
    picture = squares.repeat(SQUARE_PIXELS, axis=0).repeat(SQUARE_PIXELS, axis=1)
    middle = SQUARE_PIXELS // 2
    picture[middle::SQUARE_PIXELS, middle::SQUARE_PIXELS][parts < 0] = 0
    return _png_url(picture.round().astype(np.uint8))


def _png_url(picture: np.ndarray) -> str:
    """A grey (height, width) or coloured (height, width, 3) picture of bytes."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(picture).save(content, "png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
