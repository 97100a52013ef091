"""Trained networks in the page, which classify what the reader draws, and test images.

The page gets the folded layers of each network (`mnist_blocks/folding.py`) and one string of
weights. `static/network.js` runs them, `static/draw.js` is the user interface.
"""

import base64
import functools
import io
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from safetensors.torch import load

from ablations.analysis.summary import Results
from ablations.inspection.load import Exhibits, Gallery, ShownImage
from mnist_blocks import NetworkSpec
from mnist_blocks.folding import fold
from mnist_blocks.network import build_network
from mnist_blocks.spec import IMAGE_SIZE

DIGITS = tuple("0123456789")
NUM_DISPUTED = 10
"""Images in the row of those on which the networks disagree."""


class Live(NamedTuple):
    """The data of the template `draw.html`. The target is the first network."""

    networks: list[dict[str, object]]
    """From `live_network`."""
    class_names: tuple[str, ...]
    dataset_title: str
    samples: list[dict[str, object]]
    """From `live_sample`."""
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


def make_live(results: Results, exhibits: Exhibits) -> Live | None:
    """The networks and test images of a study; None where their weights are missing."""
    gallery = exhibits.gallery
    if gallery is None:
        return None
    networks = []
    for row in results.rows:
        name, run_spec = row.ablation.name, row.runs[0].run_spec
        if name in exhibits.weights:
            is_target = row.ablation.kind == "target"
            label = "the full network" if is_target else f"without {row.ablation.removes}"
            is_normalised = run_spec.training.normalise_input
            scale = (gallery.input_mean, gallery.input_std) if is_normalised else (0.0, 1.0)
            networks.append(
                live_network(name, label, run_spec.network, exhibits.weights[name], *scale)
            )
    samples = [
        live_sample(gallery.image(number), gallery.class_names, is_disputed)
        for numbers, is_disputed in ((gallery.samples, False), (disputed_images(gallery), True))
        for number in numbers
    ]
    return Live(
        networks,
        tuple(gallery.class_names),
        results.study.spec.dataset_title,
        samples,
        gallery.seed,
    )


def live_network(
    name: str, label: str, spec: NetworkSpec, weights_safetensors: bytes, mean: float, std: float
) -> dict[str, object]:
    """A trained network for JSON: its layers, and their weights in one string, in the order of use.

    `label` is such as `without dropout`. The network was trained on (pixel - mean) / std of pixels
    in [0, 1].

    Raises:
        RuntimeError: the weights are not those of a network with that spec.
        safetensors.SafetensorError: the weights are not in safetensors format.
    """
    network = build_network(spec)
    network.load_state_dict(load(weights_safetensors))
    layers = fold(network)
    tensors = [one for layer in layers for one in (layer.weight, layer.bias)]
    weights = torch.cat([tensor.flatten() for tensor in tensors]).numpy().astype("<f4")
    return {
        "name": name,
        "label": label,
        "mean": mean,
        "std": std,
        # The number of a layer's weights follows from its sizes.
        "layers": [
            {key: value for key, value in vars(layer).items() if key not in ("weight", "bias")}
            for layer in layers
        ],
        "weights": base64.b64encode(weights.tobytes()).decode(),
    }


def live_sample(
    image: ShownImage, class_names: Sequence[str], is_disputed: bool = False
) -> dict[str, object]:
    """A test image for JSON. Disputed: selected because networks of the study disagree about it.

    Pixels are 784 bytes, 0 (black) to 255 (white), row by row, as base64.
    """
    return {
        "words": f"test image {image.number} (class {class_names[image.class_index]})",
        "pixels": base64.b64encode(image.pixels).decode(),
        "is_disputed": is_disputed,
    }


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
