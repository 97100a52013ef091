"""Small pictures for the page, as data URLs, because the page loads nothing."""

import base64
import functools
import io

from mnist_blocks.spec import IMAGE_SIZE


@functools.cache
def image_picture(pixels: bytes) -> str:
    """A test image, white on black."""
    from PIL import Image

    content = io.BytesIO()
    picture = Image.frombytes("L", (IMAGE_SIZE, IMAGE_SIZE), pixels)
    picture.save(content, "png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
