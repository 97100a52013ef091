"""A self-test of a device: do its fast ways of training give what plain PyTorch gives?

Each way trains two seeds of two small networks for twelve steps on random images, which takes a few
seconds, and is compared with a reference: the losses of every epoch, and of every layer the change of
its weights, as the norm of the difference over the norm of the reference's change.

- *Without kinks* (no ReLU, no max pooling) rounding stays small, so a gradient that is 1 % too large in
  one layer shows. Measured on a CPU with six seeds: float32 differs by up to 7e-5 (1e-4 with errors of
  1e-5 after each convolution), TF32 by 1e-3, bfloat16 by 1e-2, the wrong gradient by 1e-2.
- *The target* has every kind of layer. Rounding decides near ties of ReLU and max pooling, and each
  decision changes a gradient by a finite amount. Measured: float32 up to 0.06, bfloat16 0.37; a layer
  that is not trained, or another seed's images, 0.6 or more.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ablations.catalogue.experiment import DatasetId, RunSpec
from ablations.catalogue.recipes import TUNED
from ablations.data.dataset import Dataset, pixel_statistics
from ablations.runner.process_pool import call_in_process
from ablations.training.loop import TrainedNetwork, train
from ablations.training.replicas import train_replicas
from ablations.training.seeding import initialise_weights
from ablations.words import first_line
from mnist_blocks.network import build_network
from mnist_blocks.spec import TARGET
from mnist_blocks.summary import leaves
from speed.arithmetic import Arithmetic
from speed.gpu.capture import Capture, Steps, capture

if TYPE_CHECKING:
    from ablations.runner.ray_pool import Cluster

FLOAT32_TOLERANCES, BFLOAT16_TOLERANCES = (5e-4, 0.2), (0.05, 0.6)
"""Of the network without kinks, and of the target: between what rounding and what an error gives."""
LIMIT_SECONDS = 180.0
"""A GPU that hangs in the self-test is one that fails it."""
NUM_TRAIN, NUM_TEST = 80, 50

Way = Callable[[Sequence[RunSpec]], list[TrainedNetwork]]


@dataclass(frozen=True)
class DeviceCheck:
    """What one check of a device found."""

    name: str
    has_passed: bool
    difference: float | None
    """The largest, of the network that comes nearest to its tolerance; None after an error."""
    tolerance: float
    problem: str
    """What is wrong, in one line; empty for a check that has passed, as is `advice`."""
    advice: str


def check_device(device_name: str, stand_in: Capture | None = None) -> list[DeviceCheck]:
    """Carry out every check of a device, in this process.

    An error is a failed check. `stand_in` takes the place of CUDA graphs, which only a GPU has.
    """
    device, cpu, dataset = torch.device(device_name), torch.device("cpu"), _random_images()

    def alone(device: torch.device, arithmetic: Arithmetic = "plain") -> Way:
        return lambda runs: [train(one, dataset, device, arithmetic=arithmetic) for one in runs]

    def together(capture_steps: Capture) -> Way:
        return partial(train_replicas, dataset=dataset, device=device, capture_steps=capture_steps)

    check = partial(_check, dataset=dataset, reference=alone(cpu))
    slower = "a study trains one network at a time, which is slower"
    checks = []
    if device.type == "cpu":
        fused = alone(cpu, "float32"), alone(cpu, "bfloat16")
        checks += [
            check("fused kernels, float32", fused[0], "use --arithmetic plain"),
            check(
                "fused kernels, bfloat16", fused[1], "use --arithmetic float32", BFLOAT16_TOLERANCES
            ),
        ]
    else:
        advice = "use --device cpu; unset NVIDIA_TF32_OVERRIDE if it is set"
        checks.append(check("one network at a time", alone(device), advice))
    if device.type != "mps":  # There a study has no groups of seeds.
        checks.append(check("several seeds as one network", together(_uncaptured), slower))
    if device.type == "cuda" or stand_in:
        # Both draw the same dropout masks, which the loop for one network does not.
        graphs = together(stand_in or capture)
        checks.append(
            check("CUDA graphs", graphs, slower, reference=together(_uncaptured), dropout=0.1)
        )
    return checks


def check_device_safely(device_name: str, cluster: "Cluster | None" = None) -> list[DeviceCheck]:
    """As `check_device`, in a process or on a cluster in a task: it may crash, or hang.

    After an error, a process may be unable to use its GPU.
    """
    call = cluster.call_on_gpu if cluster else call_in_process
    try:
        return call(check_device, device_name, LIMIT_SECONDS)
    except RuntimeError as error:
        advice = "a study trains one network at a time; if its runs fail, use --device cpu"
        return [DeviceCheck("self-test", False, None, 0.0, str(error), advice)]


def _check(
    name: str,
    way: Way,
    advice: str,
    tolerances: tuple[float, float] = FLOAT32_TOLERANCES,
    *,
    reference: Way,
    dataset: Dataset,
    dropout: float = 0.0,
) -> DeviceCheck:
    target = replace(TARGET, dropout=dropout)
    without_kinks = replace(target, block="conv-bn", downsample="stride")
    # Low for the target: rounding grows with the steps. Changing from step to step for both.
    rates = TUNED.learning_rate, TUNED.learning_rate / 10
    found = []
    try:
        for network, rate, tolerance in zip(
            (without_kinks, target), rates, tolerances, strict=True
        ):
            # Two full batches and a smaller one; a graph is called, captured and replayed twice.
            recipe = replace(
                TUNED, num_epochs=4, batch_size=32, num_train_images=NUM_TRAIN, learning_rate=rate
            )
            runs = [RunSpec("self-test", network, recipe, dataset.id, seed) for seed in (0, 1)]
            pairs = zip(runs, way(runs), reference(runs), strict=True)
            found.append((max(_difference(*pair) for pair in pairs), tolerance))
    except Exception as error:  # noqa: BLE001 (whatever it is, this way cannot be used)
        return DeviceCheck(name, False, None, tolerances[0], first_line(error), advice)
    difference, tolerance = max(found, key=lambda pair: pair[0] / pair[1])
    if difference <= tolerance:
        return DeviceCheck(name, True, difference, tolerance, "", "")
    problem = f"its results are wrong by {difference:.2g} (tolerance {tolerance:g})"
    return DeviceCheck(name, False, difference, tolerance, problem, advice)


def _difference(run_spec: RunSpec, found: TrainedNetwork, expected: TrainedNetwork) -> float:
    """The largest relative difference of a loss, or of the change of a layer's weights."""
    if found.has_diverged or expected.has_diverged:
        return math.inf
    initial = build_network(run_spec.network)
    initialise_weights(initial, run_spec.stream_seed)
    weights = map(_weights_by_layer, (initial, found.network, expected.network))
    changes = [
        float((ours - theirs).norm() / (theirs - start).norm())
        for start, ours, theirs in zip(*weights, strict=True)
    ]
    losses = zip(_losses(found), _losses(expected), strict=True)
    return max([*changes, *(abs(ours / theirs - 1) for ours, theirs in losses)])


def _weights_by_layer(network: nn.Module) -> list[Tensor]:
    layers = [list(layer.parameters()) for _, layer in leaves(network)]
    return [
        torch.cat([parameter.detach().cpu().double().flatten() for parameter in layer])
        for layer in layers
        if layer
    ]


def _losses(trained: TrainedNetwork) -> list[float]:
    losses = [(epoch.train_loss, epoch.test_loss) for epoch in trained.epochs]
    return [loss for pair in losses for loss in pair if loss is not None]


def _random_images() -> Dataset:
    """Noise on a pattern of each class: no two pixels tie, as the black ones of digits do."""
    stream = np.random.default_rng(0)
    labels = (np.arange(NUM_TRAIN + NUM_TEST) % 10).astype(np.uint8)
    patterns = stream.integers(0, 128, (10, 28, 28), np.uint8)
    images = patterns[labels] + stream.integers(0, 128, (len(labels), 28, 28), np.uint8)
    return Dataset(
        DatasetId("self-test", "", NUM_TRAIN, NUM_TEST),
        images[:NUM_TRAIN],
        labels[:NUM_TRAIN],
        images[NUM_TRAIN:],
        labels[NUM_TRAIN:],
        *pixel_statistics(images[:NUM_TRAIN]),
        class_names=tuple("0123456789"),
        title="random images",
        source="the self-test",
    )


def _uncaptured(steps: Steps, device: torch.device) -> Steps:
    return steps
