"""Convolutions by the project's own loops, against PyTorch's in float64."""

import copy
import os
import platform
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from speed.cpu import tiles
from speed.cpu.activations import Activations
from speed.cpu.epilogues import Followers
from speed.cpu.fused import fuse
from speed.cpu.fused_layer import FusedLayer
from speed.cpu.microkernels import LANES, REGISTERS
from speed.cpu.tiles import Geometry, gradient_tiles, output_tiles

GEOMETRIES = [
    Geometry(28, 28, 1, 8, 3, 1),
    Geometry(14, 14, 8, 16, 3, 1),
    Geometry(7, 7, 16, 32, 3, 1),
    Geometry(7, 5, 3, 5, 3, 0),
    Geometry(6, 9, 2, 40, 5, 2),
    Geometry(5, 4, 20, 3, 1, 0),
    Geometry(3, 3, 4, 2, 3, 2),
    Geometry(2, 2, 33, 64, 2, 1),
    Geometry(1, 4, 1, 1, 1, 0),
]
ROUNDING = {torch.float32: 2e-6, torch.bfloat16: 1e-2}


@dataclass
class Gradients:
    """What a convolution and a ReLU compute, and the gradients."""

    outputs: Tensor
    inputs: Tensor
    weight: Tensor
    bias: Tensor


def compute(geometry: Geometry, dtype: torch.dtype, *, is_fused: bool) -> Gradients:
    """With numbers that bfloat16 has exactly, so that only what is computed is rounded."""
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
        assert FusedLayer(layer, Followers()).geometry(Activations.of(inputs)) == geometry
        classify = fuse(network, dtype)
    else:
        classify = network.double()
        inputs, gradient = inputs.double(), gradient.double()
    inputs.requires_grad_()
    outputs = classify(inputs)
    outputs.backward(gradient.to(outputs.dtype))
    tensors = [inputs.grad, layer.weight.grad, layer.bias.grad]  # type: ignore[union-attr]
    return Gradients(outputs.detach(), *(copy.deepcopy(tensor).double() for tensor in tensors))  # type: ignore[union-attr]


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_every_shape_gives_what_pytorch_gives(geometry: Geometry, dtype: torch.dtype) -> None:
    found = compute(geometry, dtype, is_fused=True)
    expected = compute(geometry, dtype, is_fused=False)
    for name, exact in vars(expected).items():
        error = (getattr(found, name).double() - exact).abs().max().item()
        assert error < ROUNDING[dtype] * exact.abs().max().item(), name


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="the processors imitated are x86"
)
@pytest.mark.parametrize("features", ["+avx2,+fma", "+avx2,+avx512f", "+sse2"])
def test_processors_with_less_compute_the_same(features: str, tmp_path: object) -> None:
    # No bfloat16 products in any; 8, 16 and 4 numbers in a register.
    code = f"""
import torch
from tests.speed.cpu.test_convolution import compute, GEOMETRIES, ROUNDING
from speed.cpu import microkernels as vectors
assert not vectors.HAS_BFLOAT16_PRODUCTS
assert vectors.LANES == {dict(zip(["+avx2,+fma", "+avx2,+avx512f", "+sse2"], [8, 16, 4], strict=True))[features]}
for geometry in GEOMETRIES[1:5:2]:
    for dtype in ROUNDING:
        found = compute(geometry, dtype, is_fused=True)
        exact = compute(geometry, dtype, is_fused=False)
        for name in vars(exact):
            error = (getattr(found, name).double() - getattr(exact, name)).abs().max().item()
            assert error < ROUNDING[dtype] * getattr(exact, name).abs().max().item(), name
"""
    environment = os.environ | {
        "NUMBA_CPU_NAME": "x86-64",
        "NUMBA_CPU_FEATURES": features,
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=300)


def geometries(*, largest: int, most_channels: int) -> st.SearchStrategy[Geometry]:
    """Every convolution that `speed/cpu/tiles.py` may be asked about."""
    return st.builds(
        Geometry,
        height=st.integers(1, largest),
        width=st.integers(1, largest),
        in_channels=st.integers(1, most_channels),
        out_channels=st.integers(1, most_channels),
        kernel_size=st.integers(1, 5),
        padding=st.integers(0, 4),
    ).filter(lambda one: one.padding < one.kernel_size and one.out_height > 0 and one.out_width > 0)


@given(geometries(largest=40, most_channels=130), st.sampled_from([1, 2]))
def test_tiles_cover_all_and_fit_in_the_registers(geometry: Geometry, in_word: int) -> None:
    of_values = output_tiles(geometry, in_word)
    assert geometry.out_height % of_values.rows == 0
    assert 1 <= of_values.pixels <= geometry.out_width
    assert (of_values.rows * of_values.pixels + 1) * of_values.vectors < REGISTERS
    channels = of_values.blocks * of_values.vectors * LANES // of_values.group
    assert geometry.out_channels <= channels < geometry.out_channels + 2 * LANES
    length = geometry.kernel_size * geometry.in_channels
    assert of_values.steps * of_values.group * in_word >= length
    of_weights = gradient_tiles(geometry)
    assert of_weights.vectors * (of_weights.channels + 1) < REGISTERS
    assert of_weights.channels * of_weights.channel_blocks == geometry.out_channels
    assert of_weights.vectors * of_weights.vector_blocks * LANES >= length


@given(
    geometries(largest=30, most_channels=70),
    st.sampled_from([1, 2]),
    st.sampled_from([(4, 16), (4, 32), (8, 16), (16, 32)]),
)
def test_no_loop_leaves_its_scratch_memory(
    geometry: Geometry, in_word: int, processor: tuple[int, int]
) -> None:
    lanes, registers = processor
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "LANES", lanes)
        patch.setattr(tiles, "REGISTERS", registers)
        for one in (geometry, geometry.reverse):
            of_values = output_tiles(one, in_word)
            row = (one.width + 2 * one.padding) * one.in_channels
            num_rows = one.height + 2 * one.padding + -(-of_values.group * in_word // row)
            # The last element that `add_up_outputs` reads, in its last tile.
            last = (one.out_height - 1 + one.kernel_size - 1) * row
            last += (
                (one.out_width - 1) * one.in_channels
                + of_values.steps * of_values.group * in_word
                - 1
            )
            assert last < num_rows * row
        of_weights = gradient_tiles(geometry)
        row = (geometry.width + 2 * geometry.padding) * geometry.in_channels
        size = (geometry.height + 2 * geometry.padding + 1) * row
        num_lanes = of_weights.vector_blocks * of_weights.vectors * lanes
        num_steps = -(-geometry.out_width // in_word)
        last = (geometry.out_height - 1 + geometry.kernel_size - 1) * row
        last += (num_steps - 1) * in_word * geometry.in_channels + num_lanes - 1
        assert last < size + num_lanes


def test_the_reverse_of_the_reverse_is_the_convolution_itself() -> None:
    for geometry in GEOMETRIES:
        assert geometry.reverse.reverse == geometry
