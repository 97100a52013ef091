"""Looks at a trained network: the measurements behind the report's “why it happens”.

Made once, after training, in a second or so: signals and gradients block by block (PyTorch's
forward hooks), how well the network knows its own training images, which classes it confuses,
what its linear layers multiply out to, and where in an image its answer comes from.
"""

import copy

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from ablations.catalogue.experiment import RunSpec
from ablations.data.dataset import Dataset
from ablations.records.observations import BlockSignal, Evidence, Observations
from ablations.training.batches import Images, InputScale, load_images, prepare_pixels
from ablations.training.epoch import finite_or_none
from ablations.training.loop import TEST_BATCH_SIZE
from ablations.training.scoring import TestResult, score_logits
from ablations.training.seeding import initialise_weights
from mnist_blocks.network import build_network
from mnist_blocks.spec import NUM_CLASSES

NUM_SIGNAL_IMAGES = 512
"""Training images whose signals and gradients are measured."""
NUM_KNOWN_IMAGES = 10_000
"""Training images that are classified as test images are: as many as MNIST has of those."""
NUM_EVIDENCE_IMAGES = 5
DIGITS = 4
"""Significant digits that are kept: more would say nothing, and make files large."""


def observe(
    run_spec: RunSpec,
    network: nn.Module,
    dataset: Dataset,
    predicted_class: UInt8[np.ndarray, " test_images"],
    weights_sha256: str,
    device: torch.device,
) -> Observations:
    """Look at a trained network, which is left as it was.

    `predicted_class` is what the run answered to each test image. All else is computed by
    PyTorch's layers in float32, whatever the run's arithmetic was.
    """
    # The order of the channels in memory decides how sums are rounded: always the same here.
    network = copy.deepcopy(network).to(device).to(memory_format=torch.contiguous_format)
    scale = input_scale(run_spec, dataset)
    train_images, _ = load_images(dataset, run_spec.training, device)
    some = Images(train_images.pixels[:NUM_SIGNAL_IMAGES], train_images.labels[:NUM_SIGNAL_IMAGES])
    beginner = build_network(run_spec.network)
    initialise_weights(beginner, run_spec.seed)
    known = Images(train_images.pixels[:NUM_KNOWN_IMAGES], train_images.labels[:NUM_KNOWN_IMAGES])
    known_result = classify_known(network.eval(), known, scale)
    singular_values, rank = head_spectrum(network)
    return Observations(
        weights_sha256=weights_sha256,
        signals_at_start=measure_signals(beginner.to(device), some, scale),
        signals=measure_signals(network, some, scale),
        num_known_images=len(known),
        known_accuracy_pct=100 * known_result.num_correct / len(known),
        known_loss=rounded(known_result.loss),
        confusion=count_confusion(dataset.test_labels, predicted_class),
        head_singular_values=singular_values,
        head_rank=rank,
        evidence=[
            evidence
            for image in sample_images(dataset.test_labels)[:NUM_EVIDENCE_IMAGES]
            if (evidence := find_evidence(network, dataset, image, scale, device))
        ],
    )


def input_scale(run_spec: RunSpec, dataset: Dataset) -> InputScale:
    """How a run's network wants its pixels."""
    recipe = run_spec.training
    return InputScale(dataset.mean, dataset.std) if recipe.normalise_input else InputScale()


@torch.inference_mode()
def classify_known(network: nn.Module, images: Images, scale: InputScale) -> TestResult:
    """How a network does on training images, asked as it is asked of test images."""
    batches = images.pixels.split(TEST_BATCH_SIZE)
    logits = torch.cat([network(prepare_pixels(batch, scale)) for batch in batches])
    return score_logits(logits, images.labels)


def measure_signals(network: nn.Module, images: Images, scale: InputScale) -> list[BlockSignal]:
    """Each convolution block's outputs and gradients on one batch; leaves the network as it was.

    Batch norm takes the batch's own statistics, as in training; dropout is off, so that nothing
    is random.
    """
    network = copy.deepcopy(network).train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    blocks = {
        name: block for name, block in network.named_modules() if is_convolution_block(name, block)
    }
    outputs: dict[str, Tensor] = {}

    def keep_output(name: str, output: Tensor) -> None:
        outputs[name] = output.detach()

    for name, block in blocks.items():
        block.register_forward_hook(lambda _, __, output, name=name: keep_output(name, output))
    with torch.enable_grad():
        logits = network(prepare_pixels(images.pixels, scale))
        functional.cross_entropy(logits, images.labels).backward()
    return [
        BlockSignal(
            block=name,
            output_rms=root_mean_square(outputs[name]),
            zero_share=round((outputs[name] == 0).float().mean().item(), DIGITS),
            gradient_rms=root_mean_square(block.conv.weight.grad),
        )
        for name, block in blocks.items()
    ]


def is_convolution_block(name: str, module: nn.Module) -> bool:
    """Whether a part of a network is one of its stages' blocks."""
    return name.startswith("stage") and hasattr(module, "conv")


def root_mean_square(values: Tensor) -> float | None:
    """A tensor's typical size; None where it is not finite."""
    return rounded(values.square().mean().sqrt().item())


def rounded(value: float) -> float | None:
    """A measurement with the digits that are worth keeping; None where it is not finite."""
    found = finite_or_none(value)
    return None if found is None else float(f"{found:.{DIGITS}g}")


def count_confusion(
    labels: UInt8[np.ndarray, " images"], predicted_class: UInt8[np.ndarray, " images"]
) -> list[list[int]]:
    """How many images of each class got which answer: rows are true classes."""
    pairs = labels.astype(np.int64) * NUM_CLASSES + predicted_class
    counts = np.bincount(pairs, minlength=NUM_CLASSES**2).reshape(NUM_CLASSES, NUM_CLASSES)
    return [[int(count) for count in row] for row in counts]


def head_spectrum(network: nn.Module) -> tuple[list[float], int]:
    """Singular values and rank of the one linear map that the head's linear layers make.

    A 1x1 convolution is a linear layer that is applied to each pixel. There is no activation
    between the layers, so their product is all they can express (Saxe et al., 2013,
    arXiv:1312.6120).
    """
    weights = [
        layer.weight.detach().double().flatten(start_dim=1).cpu()
        for layer in network.get_submodule("head").modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    ]
    product = weights[0]
    for weight in weights[1:]:
        product = weight @ product
    if not product.isfinite().all():
        return [], 0
    values = [rounded(value) or 0.0 for value in torch.linalg.svdvals(product).tolist()]
    return values, int(torch.linalg.matrix_rank(product))


def sample_images(labels: UInt8[np.ndarray, " images"]) -> list[int]:
    """The first test image of each class, in the data set's order."""
    first = {int(label): number for number, label in reversed(list(enumerate(labels)))}
    return sorted(first.values())


def find_evidence(
    network: nn.Module, dataset: Dataset, image: int, scale: InputScale, device: torch.device
) -> Evidence | None:
    """Where in an image a network's answer comes from; None when that is not a number."""
    network.eval()
    pixels = torch.as_tensor(dataset.test_images[image : image + 1], device=device)
    features = prepare_pixels(pixels, scale)
    *stages, head = network.children()
    with torch.enable_grad():
        for stage in stages:
            features = stage(features)
        features = features.detach().requires_grad_()
        logits = head(features)[0]
        answer = int(logits.argmax())
        [gradient] = torch.autograd.grad(logits[answer], features)
    parts: Float[Tensor, "height width"] = (gradient * features).sum(dim=1)[0].detach()
    if not parts.isfinite().all():
        return None
    values = [[float(f"{part:.3g}") for part in row] for row in parts.tolist()]
    return Evidence(image, answer, values)
