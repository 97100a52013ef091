"""Trained networks in the page, which classify what the reader draws, and test images.

The page gets the folded layers of each network (`mnist_blocks/folding.py`) and one string of
weights. `static/network.js` runs them, `static/draw.js` is the user interface.
"""

import base64
import functools
import io
from collections import Counter
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load

from ablations.analysis.summary import Results
from ablations.inspection.load import Exhibits, Gallery, ShownImage
from mnist_blocks import NetworkSpec
from mnist_blocks.folding import fold
from mnist_blocks.network import build_network
from mnist_blocks.spec import IMAGE_SIZE

DIGITS = tuple("0123456789")
NUM_DISPUTED = 10
"""Number of images that are offered because the networks disagree on them."""


class Live(NamedTuple):
    """The data of the template `draw.html`. The target is the first network."""

    networks: list[dict[str, object]]
    """From `live_network`."""
    class_names: tuple[str, ...]
    disputed: list[ShownImage]
    """Images on which the networks disagree. The section begins with the first."""
    samples: list[ShownImage]
    """One of each class."""
    seed: int
    """Of the runs that trained these networks."""

    @property
    def is_digits(self) -> bool:
        """Whether a reader can draw the classes."""
        return self.class_names == DIGITS

    @property
    def title(self) -> str:
        """The section's heading."""
        return "Draw a digit" if self.is_digits else "Try the networks"

    @property
    def data(self) -> dict[str, object]:
        """For JSON. Pixels are 784 bytes, 0 (black) to 255 (white), row by row, as base64."""
        samples = [msgspec.to_builtins(image) for image in (*self.disputed, *self.samples)]
        return {"class_names": self.class_names, "networks": self.networks, "samples": samples}


def make_live(results: Results, exhibits: Exhibits) -> Live | None:
    """The networks and test images of a study; None where the target's weights are missing."""
    gallery = exhibits.gallery
    if gallery is None or "target" not in exhibits.weights:
        return None
    networks = []
    for row in results.rows:
        name, run_spec = row.ablation.name, row.runs[0].run_spec
        # A retuned or a placebo network removes nothing that the others do not.
        is_repeated = row.ablation.retunes or row.ablation.control == "negative"
        if name in exhibits.weights and not is_repeated:
            without = row.ablation.removes.partition(" (")[0]
            is_normalised = run_spec.training.normalise_input
            scale = (gallery.input_mean, gallery.input_std) if is_normalised else (0.0, 1.0)
            networks.append(live_network(without, run_spec.network, exhibits.weights[name], *scale))
    return Live(
        networks,
        tuple(gallery.class_names),
        [gallery.image(number) for number in disputed_images(gallery)],
        [gallery.image(number) for number in gallery.samples],
        gallery.seed,
    )


def live_network(
    without: str, spec: NetworkSpec, weights_safetensors: bytes, mean: float, std: float
) -> dict[str, object]:
    """A trained network for JSON: its layers, and their weights in one string, in the order of use.

    `without` is what it lacks, such as `dropout`. The network was trained on (pixel - mean) / std
    of pixels in [0, 1].

    Raises:
        RuntimeError: the weights are not those of a network with that spec.
        safetensors.SafetensorError: the weights are not in safetensors format.
    """
    network = build_network(spec)
    network.load_state_dict(load(weights_safetensors))
    layers = fold(network)
    tensors = [one for layer in layers for one in (layer.weight, layer.bias)]
    weights = torch.cat([tensor.flatten() for tensor in tensors]).numpy()
    return {
        "without": without,
        "mean": mean,
        "std": std,
        # The number of a layer's weights follows from its sizes.
        "layers": [
            {key: value for key, value in vars(layer).items() if key not in ("weight", "bias")}
            for layer in layers
        ],
        "weights": base64.b64encode(three_bytes(weights)).decode(),
    }


def three_bytes(numbers: NDArray[np.float32]) -> bytes:
    """The numbers rounded to the upper three bytes of a float32, little-endian: a quarter less to
    load, with a relative error of at most 2^-16. A NaN of numpy or torch stays one."""
    bits = np.minimum(numbers.astype("<f4").view("<u4").astype("<u8") + 0x80, 0xFFFFFFFF)
    upper: NDArray[np.uint8] = bits.astype("<u4").view(np.uint8).reshape(-1, 4)[:, 1:]
    return upper.tobytes()


def disputed_images(gallery: Gallery) -> list[int]:
    """The images that most ablations classify differently from the target."""
    counts = Counter(
        number
        for found in gallery.variants.values()
        for number in (*found.lost, *found.won)
        if number not in gallery.samples
        and found.answers[number].class_index != gallery.target_answers[number].class_index
    )
    return sorted(counts, key=lambda number: (-counts[number], number))[:NUM_DISPUTED]


@functools.cache
def image_picture(pixels: bytes) -> str:
    """A test image, white on black, as a data URL, because the page loads nothing."""
    from PIL import Image

    content = io.BytesIO()
    picture = Image.frombytes("L", (IMAGE_SIZE, IMAGE_SIZE), pixels)
    picture.save(content, "png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
