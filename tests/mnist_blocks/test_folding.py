"""Folded networks: fewer steps, and the same answers.

`tests/reports/html/test_live.py` runs the steps of the catalogue's networks, with their sizes.
"""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from mnist_blocks import TARGET, NetworkSpec
from mnist_blocks.blocks import named_sequence
from mnist_blocks.folding import FoldedLayer, fold
from mnist_blocks.network import build_network
from tests.strategies import network_specs


def make_network(spec: NetworkSpec) -> nn.Sequential:
    """A network in float64 whose batch norms have seen data, and are not near doing nothing."""
    chance = torch.Generator().manual_seed(0)
    network = build_network(spec).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.4, generator=chance)
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight.uniform_(-1.5, 1.5, generator=chance)
                layer.running_mean.normal_(0, 1, generator=chance)
                layer.running_var.uniform_(0.1, 3, generator=chance)
    return network


def run_folded(steps: list[FoldedLayer], images: torch.Tensor) -> torch.Tensor:
    """The logits of images that are normalised as in training: defines each kind of step."""
    values = images
    for step in steps:
        weight, bias = step.weight, step.bias
        if step.kind == "conv":
            values = functional.conv2d(values, weight, bias, step.stride, step.padding)
        elif step.kind == "scale":
            values = values * weight[:, None, None] + bias[:, None, None]
        elif step.kind == "relu":
            values = values.relu()
        elif step.kind == "maxpool":
            values = functional.max_pool2d(values, step.kernel, step.stride)
        elif step.kind == "mean":
            values = values.mean((2, 3), keepdim=True)
        elif step.kind == "linear":
            values = functional.linear(values.flatten(1), weight, bias)
    return values.flatten(1)


@settings(max_examples=40)
@given(network_specs(), st.sampled_from(["bn-conv", "bn-conv-relu", "relu-bn-conv", None]))
def test_any_network_answers_as_before(spec: NetworkSpec, block: str | None) -> None:
    network = make_network(replace(spec, block=block or spec.block))
    images = torch.randn(
        3, 1, 28, 28, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    with torch.no_grad():
        expected = network(images)
        exact = run_folded(fold(network, torch.float64), images)
        single = run_folded(fold(network), images.float())
    size = expected.abs().max().clamp_min(1)
    assert exact.dtype == torch.float64
    assert single.dtype == torch.float32
    assert (exact - expected).abs().max() <= 1e-9 * size
    assert (single - expected).abs().max() <= 1e-5 * size


def kinds(spec: NetworkSpec) -> list[str]:
    return [step.kind for step in fold(build_network(spec))]


def test_batch_norm_after_a_convolution_is_gone() -> None:
    conv_relu = ["conv", "relu"]
    stage = [*conv_relu, *conv_relu]
    expected = [*stage, "maxpool", *stage, "maxpool", *stage, "mean", "linear", "linear"]
    assert kinds(TARGET) == kinds(replace(TARGET, block="conv-relu")) == expected


@pytest.mark.parametrize("block", ["conv-relu-bn", "bn-conv-relu", "bn-relu-conv"])
def test_batch_norm_elsewhere_stays(block: str) -> None:
    # Of "bn-conv" the next block's batch norm follows the convolution, but is not of its block.
    assert kinds(replace(TARGET, block=block)).count("scale") == 6


def test_other_layers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"layer act: Tanh"):
        fold(named_sequence([("act", nn.Tanh())]))
