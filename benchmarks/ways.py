"""The ways of computing a training step, or a part of it, that `choices.py` times.

The ways that were tried and dropped are here too.
"""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional

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
class Way:
    """A way of doing something, and what it is compared with."""

    name: str
    title: str
    note: str
    is_kept: bool
    compared_with: str
    prepare: Callable[[], Work]
    count: int = STEPS_IN_A_ROUND
    """How many of its unit one call of the work does."""
    unit: str = "training step of 128 images"
    keeps_memory: bool = True
    """Whether the C library keeps freed memory in its process."""


def training_steps(
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
    """Training steps of the target in a way that differs from the project's in these points."""

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
        draws = draw_augmentation(BATCH_SIZE, seed=0, epoch=1, device=torch.device("cpu"))

        def step() -> None:
            inputs = (augmentation(images, draws) - 0.1307) / 0.3081
            with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
                loss = functional.cross_entropy(classify(inputs).float(), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        def work() -> None:
            torch.set_num_threads(num_threads)
            with nullcontext() if own_convolutions else convolutions_by_pytorch():
                for _ in range(STEPS_IN_A_ROUND):
                    step()
            torch.set_num_threads(1)

        return work

    return prepare


def convolutions_by_pytorch() -> AbstractContextManager[object]:
    """Meanwhile fused layers leave every convolution to PyTorch, as they do one with a stride."""
    return mock.patch.object(FusedLayer, "geometry", lambda *_: None)


def itself(network: nn.Sequential) -> Callable[[Tensor], Tensor]:
    """PyTorch's layers, one after another."""
    return network


def compiled(network: nn.Sequential) -> Callable[[Tensor], Tensor]:
    """The layers through PyTorch's compiler, inductor."""
    return torch.compile(network)


def in_bfloat16(network: nn.Sequential) -> Callable[[Tensor], Tensor]:
    """Fused, with activations in bfloat16."""
    return fuse(network, torch.bfloat16)


def convolution_gradients(with_bias: bool) -> Callable[[], Work]:
    """The backward passes of the target's six convolutions in bfloat16."""

    def prepare() -> Work:
        calls = []
        channels = [1, 8, 8, 16, 16, 32, 32]
        for number, size in enumerate([28, 28, 14, 14, 7, 7]):
            inputs, outputs = channels[number], channels[number + 1]
            tensors = [
                torch.randn(shape, dtype=torch.bfloat16).contiguous(
                    memory_format=torch.channels_last
                )
                for shape in [
                    (BATCH_SIZE, outputs, size, size),
                    (BATCH_SIZE, inputs, size, size),
                    (outputs, inputs, 3, 3),
                ]
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


def evaluation(batch_size: int) -> Callable[[], Work]:
    """Classifying 10,000 test images in batches of a size."""

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


def all_ways() -> list[Way]:
    """Every choice, in the order in which the story is told."""
    return [
        *layers_of_pytorch(), *fused_layers(), *parts_of_a_step(), *gradients_of_biases(),
        *(test_batches(batch_size) for batch_size in (100, 250, 1000)),
        *(compiled_by_pytorch() if shutil.which("g++") else []),
    ]  # fmt: skip


def layers_of_pytorch() -> list[Way]:
    """PyTorch's layers, as they are."""
    return [
        Way(
            "contiguous", "PyTorch's layers, channels first",
            "The layout that PyTorch begins with.", False, "contiguous",
            training_steps(compute=itself, memory_format=torch.contiguous_format),
        ),
        Way(
            "plain", "PyTorch's layers, channels last",
            "`--arithmetic plain`. The channels of a pixel lie side by side.", True, "contiguous",
            training_steps(compute=itself),
        ),
        Way(
            "memory-returned", "channels last, freed memory given back to the system",
            "glibc's default: every step touches new pages, which the system zeroes first.",
            False, "plain", training_steps(compute=itself), keeps_memory=False,
        ),
        Way(
            "autocast", "PyTorch's layers, bfloat16 by autocast",
            "Casts before and after, and layers that stay in float32.", False, "plain",
            training_steps(compute=itself, autocast=True),
        ),
    ]  # fmt: skip


def fused_layers() -> list[Way]:
    """One choice upon another, up to what a study does."""
    return [
        Way(
            "float32-pytorch", "float32, the steps between convolutions in few passes",
            "Batch norm, ReLU, pooling and dropout in two passes forward and two backward. The "
            "convolutions are still PyTorch's (oneDNN).", True, "plain",
            training_steps(compute=fuse, own_convolutions=False),
        ),
        Way(
            "float32", "fused float32: convolutions by the project's own loops, too",
            "`--arithmetic float32`. Tiles of sums cut to these few channels, and each image goes "
            "through a whole layer while it is in the cache.", True, "float32-pytorch",
            training_steps(compute=fuse),
        ),
        Way(
            "bfloat16-pytorch", "bfloat16, the steps between convolutions in few passes",
            "As above, with PyTorch's convolutions in bfloat16.", False, "float32-pytorch",
            training_steps(compute=in_bfloat16, own_convolutions=False),
        ),
        Way(
            "bfloat16", "fused bfloat16: all of this, activations in 16 bits",
            "`--arithmetic bfloat16`. Half the memory traffic, and the processor's own bfloat16 "
            "products.", has_bfloat16_instructions(), "float32",
            training_steps(compute=in_bfloat16),
        ),
    ]  # fmt: skip


def parts_of_a_step() -> list[Way]:
    """What a study does, with one part exchanged."""
    return [
        Way(
            "no-dropout", "fused bfloat16, a network without dropout",
            "What drawing masks still costs: they come from a hash of each element's number, "
            "computed again in the backward pass.", False, "bfloat16",
            training_steps(compute=in_bfloat16, dropout=0.0),
        ),
        Way(
            "two-threads", "fused bfloat16, one run in two threads",
            "One run on two cores. Two runs side by side use them better.", False, "bfloat16",
            training_steps(compute=in_bfloat16, num_threads=2),
        ),
        Way(
            "augmentation-operations", "fused bfloat16, augmentation by PyTorch's operations",
            "affine_grid and grid_sample, as on a GPU, in place of one compiled loop.", False,
            "bfloat16",
            training_steps(compute=in_bfloat16, augmentation=augment_by_operations),
        ),
        Way(
            "optimizer-loop", "fused bfloat16, the optimiser parameter by parameter",
            "PyTorch's default on a CPU, in place of `fused=True`.", False, "bfloat16",
            training_steps(compute=in_bfloat16, optimizer_kind="loop"),
        ),
        Way(
            "optimizer-foreach", "fused bfloat16, the optimiser by lists of parameters (foreach)",
            "In place of `fused=True`.", False, "bfloat16",
            training_steps(compute=in_bfloat16, optimizer_kind="foreach"),
        ),
    ]  # fmt: skip


def gradients_of_biases() -> list[Way]:
    """The convolutions' backward passes alone."""
    return [
        Way(
            "bias-gradients", "convolutions backward with the biases' gradients",
            "Batch norm takes a bias off again, so its gradient is nothing but rounding errors.",
            False, "no-bias-gradients", convolution_gradients(with_bias=True),
            unit="backward pass of the six convolutions",
        ),
        Way(
            "no-bias-gradients", "convolutions backward without the biases' gradients", "Kept: it changes nothing that is learnt.", True,
            "bias-gradients", convolution_gradients(with_bias=False),
            unit="backward pass of the six convolutions",
        ),
    ]  # fmt: skip


def test_batches(batch_size: int) -> Way:
    """Testing in batches of a size."""
    return Way(
        f"test-batch-{batch_size}",
        f"test images in batches of {batch_size}",
        "What a batch needs should stay in the cache.",
        batch_size == 250,
        "test-batch-250" if batch_size != 250 else "test-batch-1000",
        evaluation(batch_size),
        count=1,
        unit="pass over 10,000 test images",
    )


def compiled_by_pytorch() -> list[Way]:
    """Through a C++ compiler, which not every user has."""
    return [
        Way(
            "compiled", "PyTorch's layers, compiled (inductor), float32",
            "Needs a C++ compiler on the user's machine, and compiles for most of a minute "
            "for each variant.", False, "float32", training_steps(compute=compiled),
        ),
        Way(
            "compiled-autocast", "PyTorch's layers, compiled (inductor), bfloat16 by autocast",
            "The same, in bfloat16.", False, "bfloat16",
            training_steps(compute=compiled, autocast=True),
        ),
    ]  # fmt: skip
