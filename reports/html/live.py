"""A study's trained networks for the page, where they answer what the reader draws.

The page gets each network as the steps of `mnist_blocks/folding.py` and one string of weights;
`static/network.js` runs them, `static/draw.js` is what the reader sees.
"""

import base64
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from numpy import ndarray
from safetensors.torch import load

from ablations.inspection.gallery import Gallery, ShownImage
from mnist_blocks import NetworkSpec
from mnist_blocks.folding import FoldedLayer, fold
from mnist_blocks.network import build_network

DIGITS = tuple("0123456789")
NUM_DISPUTED = 10
"""Of the images on which networks disagree, how many a reader may pick: a row of buttons."""


class LiveVariant(NamedTuple):
    """A trained network that is to be shown, as a study's records and files have it."""

    name: str
    label: str
    """What it is without, in words: `without dropout`."""
    network: NetworkSpec
    weights_safetensors: bytes
    mean: float
    """It was trained on (pixel - mean) / std of pixels in [0, 1]: 0 and 1 without normalisation."""
    std: float


class Sample(NamedTuple):
    """A test image for readers who do not draw."""

    number: int
    """Which of the test images, from 0."""
    class_name: str
    pixels: str
    """784 bytes, 0 (black) to 255 (white), row by row, as base64."""
    is_disputed: bool = False
    """Picked because networks of the study answer it differently."""

    @property
    def words(self) -> str:
        """What a button with its picture is called: `test image 12, a 4`."""
        if self.class_name not in DIGITS:
            return f"test image {self.number}, {self.class_name}"
        article = "an" if self.class_name == "8" else "a"
        return f"test image {self.number}, {article} {self.class_name}"


class Live(NamedTuple):
    """What the template `draw.html` shows. The target comes first among the networks."""

    networks: list[dict[str, object]]
    """From `live_networks`."""
    class_names: tuple[str, ...]
    dataset_title: str
    samples: list[Sample]
    seed: int
    """Of the runs that trained these networks."""

    @property
    def is_digits(self) -> bool:
        """Whether the classes are what a reader can be expected to draw."""
        return self.class_names == DIGITS

    @property
    def title(self) -> str:
        """The section's heading."""
        return "Draw a digit" if self.is_digits else "Try the networks"

    @property
    def data(self) -> dict[str, object]:
        """What the page's script is given, as JSON."""
        return {
            "classNames": self.class_names,
            "networks": self.networks,
            "samples": [
                {"words": sample.words, "pixels": sample.pixels} for sample in self.samples
            ],
        }


def live_networks(variants: Iterable[LiveVariant]) -> list[dict[str, object]]:
    """Each network as a value for JSON.

    Raises:
        RuntimeError: the weights are not those of a network with that spec.
        safetensors.SafetensorError: they are no safetensors at all.
    """
    return [describe_network(variant) for variant in variants]


def describe_network(variant: LiveVariant) -> dict[str, object]:
    """A network's steps, and their weights in one string, in the order in which they are used."""
    network = build_network(variant.network)
    network.load_state_dict(load(variant.weights_safetensors))
    steps = fold(network)
    numbers = [
        numbers.flatten()
        for step in steps
        for numbers in (step.weight, step.bias)
        if numbers is not None
    ]
    return {
        "name": variant.name,
        "label": variant.label,
        "mean": variant.mean,
        "std": variant.std,
        "layers": [describe_step(step) for step in steps],
        "weights": encode_bytes(torch.cat(numbers).numpy().astype("<f4")),
    }


def describe_step(step: FoldedLayer) -> dict[str, object]:
    """A step without its weights: how many there are follows from the sizes."""
    return {
        "kind": step.kind,
        "name": step.name,
        "stage": step.stage,
        "inChannels": step.in_channels,
        "inSide": step.in_side,
        "outChannels": step.out_channels,
        "outSide": step.out_side,
        "kernel": step.kernel,
        "stride": step.stride,
        "padding": step.padding,
    }


def live_samples(
    images: Iterable[ShownImage], class_names: Sequence[str], *, is_disputed: bool = False
) -> list[Sample]:
    """The test images that a reader may pick."""
    return [
        Sample(
            image.number,
            class_names[image.class_index],
            base64.b64encode(image.pixels).decode(),
            is_disputed,
        )
        for image in images
    ]


def disputed_images(gallery: Gallery) -> list[int]:
    """The shown images that most ablations answer otherwise than the target."""
    counts = Counter(
        number
        for found in gallery.variants.values()
        for number in (*found.lost, *found.won)
        if number not in gallery.samples
        and found.answers[number].class_index != gallery.target_answers[number].class_index
    )
    return sorted(counts, key=lambda number: (-counts[number], number))[:NUM_DISPUTED]


def encode_bytes(numbers: ndarray) -> str:
    """An array's bytes, row by row, as base64."""
    return base64.b64encode(numbers.tobytes()).decode()
