"""Measurements on a trained network, for the report's explanations.

They are made once, after training, in about a second: statistics of signals and gradients block by
block, accuracy on training images, the confusion matrix, and the rank of the head.
"""

import copy

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from ablations.catalogue.experiment import RunSpec
from ablations.data.dataset import Dataset
from ablations.records.observations import BlockSignal, Observations
from ablations.training.batches import Images, InputScale, load_images, prepare_pixels
from ablations.training.epoch import finite_or_none
from ablations.training.scoring import score_images
from ablations.training.seeding import initialise_weights
from mnist_blocks.network import build_network
from mnist_blocks.spec import NUM_CLASSES

NUM_SIGNAL_IMAGES = 512
"""Number of training images on which the size of the blocks' outputs is measured."""
NUM_KNOWN_IMAGES = 10_000
"""Number of training images that are classified: as many as MNIST's test images."""
NUM_DIGITS = 4
"""Significant digits of the measurements."""


def measure_network(
    run_spec: RunSpec,
    network: nn.Module,
    dataset: Dataset,
    predicted_class: UInt8[np.ndarray, " test_images"],
    weights_sha256: str,
    device: torch.device,
) -> Observations:
    """Measure a trained network, which is not changed.

    `predicted_class` is the run's prediction for each test image. Everything else is computed by
    PyTorch's layers in float32, whatever the run's arithmetic was.
    """
    # The memory layout decides how sums are rounded: always use the same one.
    network = copy.deepcopy(network).to(device).to(memory_format=torch.contiguous_format)
    scale = InputScale.of(dataset, run_spec.training)
    train_images, _ = load_images(dataset, run_spec.training, device)
    batch, known_images = (
        Images(train_images.pixels[:count], train_images.labels[:count])
        for count in (NUM_SIGNAL_IMAGES, NUM_KNOWN_IMAGES)
    )
    untrained = build_network(run_spec.network)
    initialise_weights(untrained, run_spec.stream_seed)
    known_result = score_images(network.eval(), known_images, scale)
    confusion = np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64)
    np.add.at(confusion, (dataset.test_labels, predicted_class), 1)
    return Observations(
        weights_sha256=weights_sha256,
        signals_at_start=measure_signals(untrained.to(device), batch, scale),
        signals=measure_signals(network, batch, scale),
        num_known_images=len(known_images),
        known_accuracy_pct=100 * known_result.num_correct / len(known_images),
        confusion=confusion.tolist(),
        head_rank=head_rank(network),
    )


def measure_signals(network: nn.Module, images: Images, scale: InputScale) -> list[BlockSignal]:
    """The size of each convolution block's outputs on one batch.

    The network is not changed. Batch norm uses the batch's statistics, as in training; dropout is
    off, so that the result is deterministic.
    """
    network = copy.deepcopy(network).train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    blocks = {
        name: block
        for name, block in network.named_modules()
        if name.startswith("stage") and hasattr(block, "conv")
    }
    outputs: dict[nn.Module, Tensor] = {}

    def keep_output(block: nn.Module, _: object, output: Tensor) -> None:
        outputs[block] = output

    for block in blocks.values():
        block.register_forward_hook(keep_output)
    with torch.no_grad():
        network(prepare_pixels(images.pixels, scale))
    return [BlockSignal(name, _root_mean_square(outputs[block])) for name, block in blocks.items()]


def _root_mean_square(values: Tensor) -> float | None:
    """With four significant digits; None where it is not finite."""
    finite = finite_or_none(values.square().mean().sqrt().item())
    return None if finite is None else float(f"{finite:.{NUM_DIGITS}g}")


def head_rank(network: nn.Module) -> int:
    """The rank of the product of the head's linear layers; 0 where it is not finite.

    There is no activation between them, so the head is one linear map (Saxe et al., 2013,
    arXiv:1312.6120). A 1x1 convolution is a linear layer that is applied to each pixel.
    """
    weights = [
        layer.weight.detach().double().flatten(start_dim=1).cpu()
        for layer in network.get_submodule("head").modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    ]
    product = weights[0]
    for weight in weights[1:]:
        product = weight @ product
    return int(torch.linalg.matrix_rank(product)) if product.isfinite().all() else 0


def sample_images(labels: UInt8[np.ndarray, " images"]) -> list[int]:
    """The first test image of each class, in the data set's order."""
    _, first = np.unique(labels, return_index=True)
    return sorted(first.tolist())
