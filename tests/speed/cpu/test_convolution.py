"""Compiled convolutions, against PyTorch's in float64."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from llvmlite import binding
from torch import Tensor, nn

from mnist_blocks import TARGET
from mnist_blocks.network import build_network
from speed.cpu import tiles
from speed.cpu.fused import fuse
from speed.cpu.fused_layer import FusedLayer
from speed.cpu.tiles import (
    Geometry,
    WinogradTiles,
    gradient_tiles,
    output_tiles,
    winograd_tiles,
)

# The target's own shapes are those of `test_fused.py`. Each case compiles for seconds.
CASES = [
    (Geometry(7, 5, 3, 5, 3, 0), torch.float32),
    (Geometry(7, 5, 3, 5, 3, 0), torch.bfloat16),
    (Geometry(6, 9, 2, 40, 5, 2), torch.bfloat16),
    (Geometry(5, 4, 20, 3, 1, 0), torch.float32),
    (Geometry(3, 3, 4, 2, 3, 2), torch.bfloat16),
    (Geometry(2, 2, 33, 64, 2, 1), torch.float32),
    # By Winograd's algorithm, with odd sizes, every padding, and more channels in or out.
    (Geometry(7, 6, 8, 32, 3, 1), torch.float32),
    (Geometry(5, 8, 32, 8, 3, 0), torch.float32),
    (Geometry(3, 3, 16, 16, 3, 2), torch.float32),
    # Channels that do not fill the vectors.
    (Geometry(4, 4, 24, 8, 3, 1), torch.float32),
]
ROUNDING = {torch.float32: 2e-6, torch.bfloat16: 1e-2}


def compute(geometry: Geometry, dtype: torch.dtype, *, is_fused: bool) -> dict[str, Tensor]:
    """The outputs of a convolution and a ReLU, and the gradients.

    All numbers are exact in bfloat16, so that only results are rounded.
    """
    stream = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        numbers = torch.randn(shape, generator=stream).to(torch.bfloat16).float()
        return numbers.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else numbers

    layer = nn.Conv2d(
        geometry.in_channels, geometry.out_channels, geometry.kernel_size, padding=geometry.padding
    )
    layer.weight.data, layer.bias.data = draw(*layer.weight.shape), draw(geometry.out_channels)  # type: ignore[union-attr]
    inputs = draw(3, geometry.in_channels, geometry.height, geometry.width)
    gradient = draw(3, geometry.out_channels, geometry.out_height, geometry.out_width)
    network = nn.Sequential(layer, nn.ReLU())
    if is_fused:
        assert FusedLayer(layer).geometry(inputs.shape) == geometry
        classify = fuse(network, dtype)
    else:
        classify = network.double()
        inputs, gradient = inputs.double(), gradient.double()
    inputs.requires_grad_()
    outputs = classify(inputs)
    outputs.backward(gradient.to(outputs.dtype))
    found = {"outputs": outputs.detach(), "inputs": inputs.grad}
    found |= {name: parameter.grad for name, parameter in layer.named_parameters()}
    return {name: copy.deepcopy(tensor).double() for name, tensor in found.items()}  # type: ignore[union-attr]


@pytest.mark.parametrize(("geometry", "dtype"), CASES, ids=str)
def test_every_shape_gives_what_pytorch_gives(geometry: Geometry, dtype: torch.dtype) -> None:
    found = compute(geometry, dtype, is_fused=True)
    expected = compute(geometry, dtype, is_fused=False)
    for name, exact in expected.items():
        error = (found[name] - exact).abs().max().item()
        assert error < ROUNDING[dtype] * exact.abs().max().item(), name


@pytest.mark.parametrize(
    ("features", "lanes"), [("avx2,fma", 8), ("avx2,avx512f", 16), ("sse2", 4)]
)
def test_processors_with_fewer_features_compute_the_same(
    features: str, lanes: int, tmp_path: Path
) -> None:
    # None of them has products of bfloat16.
    host = binding.get_host_cpu_features()
    if missing := [name for name in features.split(",") if not host.get(name)]:
        pytest.skip(f"this processor cannot run code for {', '.join(missing)}")
    code = f"""
from speed.cpu import microkernels
from tests.speed.cpu.test_convolution import CASES, test_every_shape_gives_what_pytorch_gives
assert not microkernels.HAS_BFLOAT16_PRODUCTS
assert microkernels.LANES == {lanes}
for case in CASES[1], CASES[6]:
    test_every_shape_gives_what_pytorch_gives(*case)
"""
    environment = os.environ | {
        "NUMBA_CPU_NAME": "x86-64",
        "NUMBA_CPU_FEATURES": ",".join(f"+{name}" for name in features.split(",")),
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@given(
    st.builds(
        Geometry,
        height=st.integers(1, 30),
        width=st.integers(1, 30),
        in_channels=st.integers(1, 130),
        out_channels=st.integers(1, 130),
        kernel_size=st.integers(1, 5),
        padding=st.integers(0, 4),
    ).filter(lambda one: one.padding < one.kernel_size and min(one.out_height, one.out_width) > 0),
    st.sampled_from([1, 2]),
    st.sampled_from([(4, 16), (4, 32), (8, 16), (16, 32)]),
)
def test_tiles_cover_all_fit_in_registers_and_stay_in_their_memory(
    geometry: Geometry, word_size: int, processor: tuple[int, int]
) -> None:
    lanes, registers = processor
    assert geometry.reverse.reverse == geometry
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "LANES", lanes)
        patch.setattr(tiles, "REGISTERS", registers)
        for one in (geometry, geometry.reverse):
            check_output_tiles(one, word_size, lanes, registers)
        of_weights = gradient_tiles(geometry, word_size)
        if found := winograd_tiles(geometry, word_size):
            check_winograd_tiles(found)
        padded_rows, padded_row = output_tiles(geometry, word_size).padded_shape
    assert of_weights.vectors * (of_weights.channels + 1) < registers
    assert of_weights.channels * of_weights.channel_blocks == geometry.out_channels
    assert of_weights.lanes <= lanes
    num_lanes = of_weights.vector_blocks * of_weights.block_lanes
    assert num_lanes >= geometry.kernel_size * geometry.in_channels
    # The last element that `accumulate_weight_gradients` reads.
    num_steps = -(-geometry.out_width // word_size)
    last = (geometry.out_height - 1 + geometry.kernel_size - 1) * padded_row
    last += (num_steps - 1) * word_size * geometry.in_channels + num_lanes - 1
    assert last < padded_rows * padded_row + num_lanes


def check_output_tiles(geometry: Geometry, word_size: int, lanes: int, registers: int) -> None:
    """While `tiles.LANES` and `tiles.REGISTERS` are those of this processor."""
    found = output_tiles(geometry, word_size)
    assert geometry.out_height % found.rows == 0
    assert 1 <= found.pixels <= geometry.out_width
    assert (found.rows * found.pixels + 1) * found.vectors < registers
    channels = found.blocks * found.vectors * lanes // found.group
    assert geometry.out_channels <= channels < geometry.out_channels + 2 * lanes
    row_elements = found.steps * found.group * word_size
    assert row_elements >= geometry.kernel_size * geometry.in_channels
    # The last element that `accumulate_outputs` reads, in its last tile.
    num_rows, padded_row = found.padded_shape
    last = (geometry.out_height - 1 + geometry.kernel_size - 1) * padded_row
    last += (geometry.out_width - 1) * geometry.in_channels + row_elements - 1
    assert last < num_rows * padded_row


def check_winograd_tiles(found: WinogradTiles) -> None:
    """For the forward pass and for both gradients."""
    geometry, reverse = found.geometry, found.geometry.reverse
    reversed_tiles = winograd_tiles(reverse, 1)
    assert reversed_tiles
    for one in (found, reversed_tiles):
        assert 2 * one.rows >= one.geometry.out_height
        assert 2 * one.columns >= one.geometry.out_width
        num_rows, padded_row = one.padded_shape
        assert num_rows >= one.geometry.height + 2 * one.geometry.padding
        assert (
            padded_row >= (one.geometry.width + 2 * one.geometry.padding) * one.geometry.in_channels
        )
        products = output_tiles(one.product, 1)
        assert products.rows == 1
        assert products.blocks * products.block_channels == one.geometry.out_channels
    # The tiles of the gradient, which begin after its margin, lie within the padded one.
    num_rows, padded_row = reversed_tiles.padded_shape
    assert reverse.padding + 2 * found.rows <= num_rows
    assert (reverse.padding + 2 * found.columns) * geometry.out_channels <= padded_row


def test_the_layers_of_the_target_take_fewer_products() -> None:
    layers = [layer for layer in build_network(TARGET).modules() if isinstance(layer, nn.Conv2d)]
    geometries = [Geometry(28, 28, one.in_channels, one.out_channels, 3, 1) for one in layers]
    assert [bool(winograd_tiles(one, 1)) for one in geometries] == [False, *[True] * 5]
    assert not any(winograd_tiles(one, 2) for one in geometries)
