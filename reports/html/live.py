"""Trained networks in the page, which classify what the reader draws.

The page gets the folded layers of each network (`mnist_blocks/folding.py`) and one string of
weights. `static/network.js` runs them, `static/draw.js` is the user interface.
"""

import base64
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from safetensors.torch import load

from ablations.analysis.summary import Results
from ablations.inspection.gallery import Gallery, ShownImage
from ablations.inspection.load import Exhibits
from mnist_blocks import NetworkSpec
from mnist_blocks.folding import FoldedLayer, fold
from mnist_blocks.network import build_network

DIGITS = tuple("0123456789")
NUM_DISPUTED = 10
"""Images in the row of those on which the networks disagree."""


class LiveVariant(NamedTuple):
    """A trained network for the page."""

    name: str
    label: str
    """Such as `without dropout`."""
    network: NetworkSpec
    weights_safetensors: bytes
    mean: float
    """It was trained on (pixel - mean) / std of pixels in [0, 1]: 0 and 1 without normalisation."""
    std: float


class Sample(NamedTuple):
    """A test image that the reader can pick."""

    number: int
    """Of the test image, from 0."""
    class_name: str
    pixels: str
    """784 bytes, 0 (black) to 255 (white), row by row, as base64."""
    is_disputed: bool = False
    """Selected because networks of the study disagree about it."""

    @property
    def words(self) -> str:
        """The label of its button: `test image 12, a 4`."""
        article = "an " if self.class_name == "8" else "a " if self.class_name in DIGITS else ""
        return f"test image {self.number}, {article}{self.class_name}"


class Live(NamedTuple):
    """The data of the template `draw.html`. The target is the first network."""

    networks: list[dict[str, object]]
    """From `live_networks`."""
    class_names: tuple[str, ...]
    dataset_title: str
    samples: list[Sample]
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
        """The script's data, for JSON."""
        samples = [{"words": one.words, "pixels": one.pixels} for one in self.samples]
        return {"classNames": self.class_names, "networks": self.networks, "samples": samples}


def make_live(results: Results, exhibits: Exhibits) -> Live | None:
    """The networks and test images of a study; None where their weights are missing."""
    gallery = exhibits.gallery
    if gallery is None:
        return None
    variants = []
    for row in results.rows:
        name, run_spec = row.ablation.name, row.runs[0].run_spec
        if name not in exhibits.weights:
            continue
        is_target, is_normalised = row.ablation.kind == "target", run_spec.training.normalise_input
        variants.append(
            LiveVariant(
                name=name,
                label="the full network" if is_target else f"without {row.ablation.removes}",
                network=run_spec.network,
                weights_safetensors=exhibits.weights[name],
                mean=gallery.input_mean if is_normalised else 0.0,
                std=gallery.input_std if is_normalised else 1.0,
            )
        )
    samples, disputed = (
        [gallery.image(number) for number in numbers]
        for numbers in (gallery.samples, disputed_images(gallery))
    )
    return Live(
        networks=live_networks(variants),
        class_names=tuple(gallery.class_names),
        dataset_title=results.study.spec.dataset_title,
        samples=[
            *live_samples(samples, gallery.class_names),
            *live_samples(disputed, gallery.class_names, is_disputed=True),
        ],
        seed=gallery.seed,
    )


def live_networks(variants: Iterable[LiveVariant]) -> list[dict[str, object]]:
    """Each network for JSON: its layers, and their weights in one string, in the order of use.

    Raises:
        RuntimeError: the weights are not those of a network with that spec.
        safetensors.SafetensorError: the weights are not in safetensors format.
    """
    found: list[dict[str, object]] = []
    for variant in variants:
        network = build_network(variant.network)
        network.load_state_dict(load(variant.weights_safetensors))
        layers = fold(network)
        tensors = [one for layer in layers for one in (layer.weight, layer.bias)]
        weights = torch.cat([tensor.flatten() for tensor in tensors]).numpy().astype("<f4")
        found.append(
            {
                "name": variant.name,
                "label": variant.label,
                "mean": variant.mean,
                "std": variant.std,
                "layers": [_layer_data(layer) for layer in layers],
                "weights": base64.b64encode(weights.tobytes()).decode(),
            }
        )
    return found


def _layer_data(layer: FoldedLayer) -> dict[str, object]:
    """A layer without its weights: their number follows from the sizes."""
    return {
        "kind": layer.kind,
        "name": layer.name,
        "stage": layer.stage,
        "inChannels": layer.in_channels,
        "inSide": layer.in_side,
        "outChannels": layer.out_channels,
        "outSide": layer.out_side,
        "kernel": layer.kernel,
        "stride": layer.stride,
        "padding": layer.padding,
    }


def live_samples(
    images: Iterable[ShownImage], class_names: Sequence[str], *, is_disputed: bool = False
) -> list[Sample]:
    """Test images that the reader can pick."""
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
    """The images that most ablations classify differently from the target."""
    counts = Counter(
        number
        for found in gallery.variants.values()
        for number in (*found.lost, *found.won)
        if number not in gallery.samples
        and found.answers[number].class_index != gallery.target_answers[number].class_index
    )
    return sorted(counts, key=lambda number: (-counts[number], number))[:NUM_DISPUTED]
