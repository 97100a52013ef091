"""The implementations of a training step, or of a part of it, that `choices.py` times.

Implementations that were tried and rejected are included.
"""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional

from ablations.catalogue.recipes import PUBLISHED
from ablations.training.augmentation import (
    Augmentation,
    augment,
    augment_by_operations,
    draw_augmentation,
)
from ablations.training.seeding import initialise_weights
from mnist_blocks.network import build_network
from mnist_blocks.spec import TARGET
from speed.arithmetic import has_bfloat16_instructions
from speed.cpu.fused import fuse
from speed.cpu.fused_layer import FusedLayer, convolution_backward

BATCH_SIZE = 128
STEPS_IN_A_ROUND = 15
TEST_IMAGES = 10_000
Work = Callable[[], None]
"""What is timed: a number of steps."""


@dataclass(frozen=True)
class Implementation:
    """An implementation, and the one that it is compared with."""

    name: str
    title: str
    note: str
    compared_with: str
    prepare: Callable[[], Work]
    is_kept: bool = False
    count: int = STEPS_IN_A_ROUND
    """Units that one call of the work does."""
    unit: str = "training step of 128 images"
    keeps_memory: bool = True
    """Whether the C library keeps freed memory in its process."""


def _training_steps(
    *,
    compute: Callable[[nn.Sequential], Callable[[Tensor], Tensor]],
    augmentation: Callable[[Tensor, Augmentation], Tensor] = augment,
    memory_format: torch.memory_format = torch.channels_last,
    optimizer_kind: str = "fused",
    autocast: bool = False,
    dropout: float = TARGET.dropout,
    num_threads: int = 1,
    own_convolutions: bool = True,
) -> Callable[[], Work]:
    """Training steps of the target that differ from the project's in these points."""

    def prepare() -> Work:
        network = build_network(replace(TARGET, dropout=dropout))
        initialise_weights(network, 0)
        network = network.to(memory_format=memory_format).train()
        classify = compute(network)
        optimizer = torch.optim.SGD(
            network.parameters(), lr=0.01, momentum=0.9,
            fused=optimizer_kind == "fused", foreach=optimizer_kind == "foreach",
        )  # fmt: skip
        stream = torch.Generator().manual_seed(0)
        images = torch.rand(BATCH_SIZE, 1, 28, 28, generator=stream)
        labels = torch.randint(10, (BATCH_SIZE,), generator=stream)
        draws = draw_augmentation(
            PUBLISHED, BATCH_SIZE, seed=0, epoch=1, device=torch.device("cpu")
        )
        assert draws

        def step() -> None:
            inputs = (augmentation(images, draws) - 0.1307) / 0.3081
            with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
                loss = functional.cross_entropy(classify(inputs).float(), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        def work() -> None:
            torch.set_num_threads(num_threads)
            with nullcontext() if own_convolutions else _pytorch_convolutions():
                for _ in range(STEPS_IN_A_ROUND):
                    step()
            torch.set_num_threads(1)

        return work

    return prepare


def _pytorch_convolutions() -> AbstractContextManager[object]:
    """Meanwhile fused layers leave every convolution to PyTorch."""
    return mock.patch.object(FusedLayer, "geometry", lambda *_: None)


def _layers(network: nn.Sequential) -> Callable[[Tensor], Tensor]:
    return network


def _compiled(network: nn.Sequential) -> Callable[[Tensor], Tensor]:
    return torch.compile(network)


def _in_bfloat16(network: nn.Sequential) -> Callable[[Tensor], Tensor]:
    return fuse(network, torch.bfloat16)


def _convolution_gradients(with_bias: bool) -> Callable[[], Work]:
    """The backward passes of the target's six convolutions in bfloat16."""

    def prepare() -> Work:
        calls = []
        channels = [1, 8, 8, 16, 16, 32, 32]
        for number, size in enumerate([28, 28, 14, 14, 7, 7]):
            inputs, outputs = channels[number], channels[number + 1]
            shapes = [
                (BATCH_SIZE, outputs, size, size),
                (BATCH_SIZE, inputs, size, size),
                (outputs, inputs, 3, 3),
            ]
            tensors = [
                torch.randn(shape, dtype=torch.bfloat16).contiguous(
                    memory_format=torch.channels_last
                )
                for shape in shapes
            ]
            calls.append((tensors, [outputs] if with_bias else None, number > 0))

        def work() -> None:
            for _ in range(STEPS_IN_A_ROUND):
                for tensors, bias_sizes, needs_inputs in calls:
                    convolution_backward(
                        *tensors, bias_sizes, [1, 1], [1, 1], [1, 1], False, [0, 0], 1,
                        [needs_inputs, True, with_bias],
                    )  # fmt: skip

        return work

    return prepare


def _evaluation(batch_size: int) -> Callable[[], Work]:
    """Classifying 10,000 test images."""

    def prepare() -> Work:
        network = build_network(TARGET).to(memory_format=torch.channels_last).eval()
        classify = fuse(network)
        images = torch.rand(TEST_IMAGES, 1, 28, 28)

        def work() -> None:
            with torch.inference_mode():
                for batch in images.split(batch_size):
                    classify(batch)

        return work

    return prepare


def all_implementations() -> list[Implementation]:
    """Every implementation, in the order of the document."""
    return [
        *_pytorch_layers(), *_fused_layers(), *_exchanged_parts(), *_backward_passes(),
        *(_test_batches(batch_size) for batch_size in (100, 250, 1000)),
        # PyTorch's compiler needs a C++ compiler.
        *(_compiled_by_pytorch() if shutil.which("g++") else []),
    ]  # fmt: skip


def _pytorch_layers() -> list[Implementation]:
    return [
        Implementation(
            "contiguous", "PyTorch layers, channels first", "PyTorch's default memory format.",
            "contiguous", _training_steps(compute=_layers, memory_format=torch.contiguous_format),
        ),
        Implementation(
            "plain", "PyTorch layers, channels last",
            "`--arithmetic plain`. The channels of a pixel are adjacent in memory.", "contiguous",
            _training_steps(compute=_layers), is_kept=True,
        ),
        Implementation(
            "memory-returned", "PyTorch layers, channels last, freed memory returned",
            "The default of glibc: every step uses new pages, which the system fills with zeros.",
            "plain", _training_steps(compute=_layers), keeps_memory=False,
        ),
        Implementation(
            "autocast", "PyTorch layers, bfloat16 by autocast",
            "Conversions before and after, and layers that stay in float32.", "plain",
            _training_steps(compute=_layers, autocast=True),
        ),
    ]  # fmt: skip


def _fused_layers() -> list[Implementation]:
    """Each adds one choice to the one before, up to what a study uses."""
    return [
        Implementation(
            "float32-pytorch", "float32, fused epilogues",
            "Batch norm, ReLU, pooling and dropout in two passes forward and two backward. The "
            "convolutions are PyTorch's (oneDNN).", "plain",
            _training_steps(compute=fuse, own_convolutions=False), is_kept=True,
        ),
        Implementation(
            "float32", "fused float32: fused epilogues and the project's convolution kernels",
            "`--arithmetic float32`. Accumulator tiles fit these few channels, and an image passes "
            "through a whole layer while it is in the cache.", "float32-pytorch",
            _training_steps(compute=fuse), is_kept=True,
        ),
        Implementation(
            "bfloat16-pytorch", "bfloat16, fused epilogues",
            "As above, with PyTorch's convolutions in bfloat16.", "float32-pytorch",
            _training_steps(compute=_in_bfloat16, own_convolutions=False),
        ),
        Implementation(
            "bfloat16", "fused bfloat16: the same with 16-bit activations",
            "`--arithmetic bfloat16`. Half the memory traffic, and the processor's bfloat16 "
            "instructions.", "float32",
            _training_steps(compute=_in_bfloat16), is_kept=has_bfloat16_instructions(),
        ),
    ]  # fmt: skip


def _exchanged_parts() -> list[Implementation]:
    """What a study uses, with one part exchanged."""
    fused = partial(_training_steps, compute=_in_bfloat16)
    return [
        Implementation(
            "no-dropout", "fused bfloat16, a network without dropout",
            "The cost of dropout masks: they are a hash of each element's index, computed again "
            "in the backward pass.", "bfloat16", fused(dropout=0.0),
        ),
        Implementation(
            "two-threads", "fused bfloat16, one run in two threads",
            "Two runs at the same time use two cores better.", "bfloat16", fused(num_threads=2),
        ),
        Implementation(
            "augmentation-operations", "fused bfloat16, augmentation by PyTorch operations",
            "`affine_grid` and `grid_sample`, as on a GPU, instead of one compiled kernel.",
            "bfloat16", fused(augmentation=augment_by_operations),
        ),
        Implementation(
            "optimizer-loop", "fused bfloat16, the optimiser parameter by parameter",
            "PyTorch's default on a CPU, instead of `fused=True`.", "bfloat16",
            fused(optimizer_kind="loop"),
        ),
        Implementation(
            "optimizer-foreach", "fused bfloat16, the optimiser by lists of parameters (foreach)",
            "Instead of `fused=True`.", "bfloat16", fused(optimizer_kind="foreach"),
        ),
    ]  # fmt: skip


def _backward_passes() -> list[Implementation]:
    unit = "backward pass of the six convolutions"
    return [
        Implementation(
            "bias-gradients", "convolutions backward with the gradients of biases",
            "Batch norm cancels a bias, so its gradient is rounding error only.",
            "no-bias-gradients", _convolution_gradients(with_bias=True), unit=unit,
        ),
        Implementation(
            "no-bias-gradients", "convolutions backward without the gradients of biases",
            "This changes nothing that is learnt.", "bias-gradients",
            _convolution_gradients(with_bias=False), is_kept=True, unit=unit,
        ),
    ]  # fmt: skip


def _test_batches(batch_size: int) -> Implementation:
    return Implementation(
        f"test-batch-{batch_size}", f"test images in batches of {batch_size}",
        "The data of a batch should fit into the cache.",
        "test-batch-1000" if batch_size == 250 else "test-batch-250",
        _evaluation(batch_size), is_kept=batch_size == 250, count=1,
        unit="pass over 10,000 test images",
    )  # fmt: skip


def _compiled_by_pytorch() -> list[Implementation]:
    return [
        Implementation(
            "compiled", "PyTorch layers, compiled (inductor), float32",
            "Needs a C++ compiler on the user's machine, and almost a minute to compile each "
            "variant.", "float32", _training_steps(compute=_compiled),
        ),
        Implementation(
            "compiled-autocast", "PyTorch layers, compiled (inductor), bfloat16 by autocast",
            "The same in bfloat16.", "bfloat16",
            _training_steps(compute=_compiled, autocast=True),
        ),
    ]  # fmt: skip
