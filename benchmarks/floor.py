"""A lower bound on the time of training: its arithmetic at the processor's peak throughput.

The peak is measured: one thread computes large matrix products and large convolutions, and the
fastest counts. Training is slower, since small convolutions use the processor's units less well,
and since batch norm, pooling, dropout and augmentation are limited by memory bandwidth.
"""

import time
from collections.abc import Callable, Iterable

import torch
from torch.nn.functional import conv2d

from benchmarks.measurements import Floor, Rate
from mnist_blocks import NetworkSpec
from mnist_blocks.summary import layer_table
from speed.arithmetic import has_bfloat16_instructions

FLOP_OF_A_MULTIPLY_ADD = 2
MATRIX_SIDES = (512, 1024, 2048)
CONVOLUTIONS = ((16, 64, 28), (16, 128, 28), (16, 256, 14), (8, 256, 28))
"""(batch, channels in and out, side of the image), 3x3."""
COPY_BYTES = 256 * 2**20
"""Larger than any cache."""
QUICK_MATRIX_SIDES = (128,)
QUICK_CONVOLUTIONS = ((2, 16, 14),)
QUICK_COPY_BYTES = 2**20


def forward_flop(spec: NetworkSpec) -> int:
    """Floating point operations of one image's forward pass, in convolutions and linear layers."""
    return FLOP_OF_A_MULTIPLY_ADD * sum(row.multiply_adds for row in layer_table(spec))


def training_flop(spec: NetworkSpec) -> int:
    """The same for one image's forward and backward pass.

    The gradients of a layer's weights and of its input each take as many multiply-adds as its
    forward pass. The gradient of the first layer's input, the image, is not computed.
    """
    rows = [row for row in layer_table(spec) if row.multiply_adds]
    return 3 * forward_flop(spec) - FLOP_OF_A_MULTIPLY_ADD * rows[0].multiply_adds


def measure_floor(is_quick: bool) -> Floor:
    """The peak throughput of one thread."""
    dtypes = [torch.float32, *([torch.bfloat16] if has_bfloat16_instructions() else [])]
    sides = QUICK_MATRIX_SIDES if is_quick else MATRIX_SIDES
    shapes = QUICK_CONVOLUTIONS if is_quick else CONVOLUTIONS
    rates = []
    best: dict[torch.dtype, float] = {}
    for dtype in dtypes:
        name = str(dtype).removeprefix("torch.")
        found = [
            _fastest(f"{name} matrix product", (_matrix_product(side, dtype) for side in sides)),
            _fastest(f"{name} convolution", (_convolution(*shape, dtype) for shape in shapes)),
        ]
        best[dtype] = max(rate.value for rate in found)
        rates += found
    copy = _memory_copy(QUICK_COPY_BYTES if is_quick else COPY_BYTES)
    return Floor(
        rates=[*rates, copy],
        float32_gflop_per_second=best[torch.float32],
        bfloat16_gflop_per_second=best.get(torch.bfloat16),
        copy_gb_per_second=copy.value,
    )


def _fastest(name: str, rates: Iterable[tuple[str, float]]) -> Rate:
    """The best of several (size, GFLOP/s)."""
    size, value = max(rates, key=lambda rate: rate[1])
    return Rate(name, size, value, "GFLOP/s")


@torch.inference_mode()
def _matrix_product(side: int, dtype: torch.dtype) -> tuple[str, float]:
    """GFLOP/s of a square matrix product."""
    left, right = (torch.randn(side, side).to(dtype) for _ in range(2))
    seconds = least_seconds(lambda: left @ right)
    return f"{side} x {side}", FLOP_OF_A_MULTIPLY_ADD * side**3 / seconds / 1e9


@torch.inference_mode()
def _convolution(batch: int, channels: int, side: int, dtype: torch.dtype) -> tuple[str, float]:
    """GFLOP/s of a 3x3 convolution; padding counts, as in `mnist_blocks/summary.py`."""
    images = torch.randn(batch, channels, side, side).to(dtype)
    weight = torch.randn(channels, channels, 3, 3).to(dtype)
    images, weight = (item.to(memory_format=torch.channels_last) for item in (images, weight))
    seconds = least_seconds(lambda: conv2d(images, weight, padding=1))
    flop = FLOP_OF_A_MULTIPLY_ADD * batch * side**2 * channels**2 * 9
    size = f"{batch} images of {side} x {side}, {channels} channels"
    return size, flop / seconds / 1e9


def _memory_copy(num_bytes: int) -> Rate:
    """GB/s of a copy larger than the caches; bytes read and written both count."""
    source = torch.ones(num_bytes // 4)
    destination = torch.empty_like(source)
    seconds = least_seconds(lambda: destination.copy_(source))
    size = f"{num_bytes // 2**20} MiB"
    return Rate("memory copy", size, 2 * num_bytes / seconds / 1e9, "GB/s")


def least_seconds(operation: Callable[[], object], num_times: int = 10) -> float:
    """The minimum over calls, after one that warms up."""
    operation()
    seconds = []
    for _ in range(num_times):
        started = time.perf_counter()
        operation()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
