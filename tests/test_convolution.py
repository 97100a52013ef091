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

from speed.convolution import Geometry, gradient_tiles, output_tiles
from speed.fused import FusedLayer, fuse
from speed.vectors import LANES, MOST_SUMS

GEOMETRIES = [
    Geometry(28, 28, 1, 8, 3, 1),
    Geometry(14, 14, 8, 16, 3, 1),
    Geometry(7, 7, 16, 32, 3, 1),
    Geometry(7, 5, 3, 5, 3, 0),
    Geometry(6, 9, 2, 40, 5, 2),
    Geometry(5, 4, 20, 3, 1, 0),
    Geometry(3, 3, 4, 2, 3, 2),
    Geometry(2, 2, 33, 64, 2, 1),
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
        assert FusedLayer(layer, None).geometry(geometry.height, geometry.width) == geometry  # type: ignore[arg-type]
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
from tests.test_convolution import compute, GEOMETRIES, ROUNDING
from speed import vectors
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


@given(
    st.builds(
        Geometry,
        height=st.integers(3, 40),
        width=st.integers(3, 40),
        in_channels=st.integers(1, 130),
        out_channels=st.integers(1, 130),
        kernel_size=st.integers(1, 3),
        padding=st.integers(0, 2),
    ),
    st.sampled_from([1, 2]),
)
def test_tiles_cover_all_and_fit_in_the_registers(geometry: Geometry, in_word: int) -> None:
    tiles = output_tiles(geometry, in_word)
    assert geometry.out_height % tiles.rows == 0
    assert 1 <= tiles.pixels <= geometry.out_width
    assert tiles.rows * tiles.pixels * tiles.vectors <= MOST_SUMS
    channels = tiles.blocks * tiles.vectors * LANES // tiles.group
    assert geometry.out_channels <= channels < geometry.out_channels + 2 * LANES
    length = geometry.kernel_size * geometry.in_channels
    assert tiles.steps * tiles.group * in_word >= length
    of_weights = gradient_tiles(geometry)
    assert of_weights.vectors * of_weights.channels <= MOST_SUMS
    assert of_weights.channels * of_weights.channel_blocks == geometry.out_channels
    assert of_weights.vectors * of_weights.vector_blocks * LANES >= length


def test_the_reverse_of_the_reverse_is_the_convolution_itself() -> None:
    for geometry in GEOMETRIES:
        assert geometry.reverse.reverse == geometry
