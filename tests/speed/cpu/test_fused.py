"""The fused network computes what PyTorch's layers compute, one after another."""

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from ablations.catalogue.ablation import Ablation
from ablations.catalogue.entries import ENTRIES
from ablations.training.seeding import initialise_weights
from mnist_blocks.network import build_network
from mnist_blocks.spec import TARGET, NetworkSpec
from mnist_blocks.summary import layer_table, leaves
from speed.cpu import fused_layer, kernels
from speed.cpu.compiling import cached_njit
from speed.cpu.epilogues import EpilogueArguments, apply_epilogue
from speed.cpu.fused import fuse, group_layers
from speed.cpu.fused_layer import FusedLayer, as_rows
from speed.cpu.kernels import DropoutMask

NETWORKS = [ablation for ablation in ENTRIES if ablation.kind != "training"]
BATCH_SIZE = 12


@cached_njit(set())
def draw_kept(size, mask):  # type: ignore[no-untyped-def]
    """The dropout mask that the kernels apply: True where an element is kept."""
    kept = np.empty(size, np.bool_)
    for number in range(size):
        kept[number] = kernels.is_kept(number, mask)
    return kept


def build(spec: NetworkSpec) -> nn.Sequential:
    """A network with random scales and shifts in batch norm."""
    network = build_network(spec)
    initialise_weights(network, 0)
    stream = torch.Generator().manual_seed(1)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            # Negative scales too: then the maximum is not where the convolution's maximum is.
            nn.init.normal_(layer.weight, 0.5, 1, generator=stream)
            nn.init.normal_(layer.bias, 0, 0.5, generator=stream)
    return network.to(memory_format=torch.channels_last)


def random_batch() -> tuple[Tensor, Tensor]:
    stream = torch.Generator().manual_seed(0)
    images = torch.rand(BATCH_SIZE, 1, 28, 28, generator=stream)
    return images, torch.randint(10, (BATCH_SIZE,), generator=stream)


def without_head_dropout(network: nn.Sequential) -> nn.Sequential:
    """Dropout that is not fused draws from PyTorch's own generator, and cannot be compared."""
    for layer in group_layers([layer for _, layer in leaves(network)]):
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    return network


def record_masks(monkeypatch: pytest.MonkeyPatch) -> dict[nn.Module, DropoutMask]:
    """The mask that each dropout layer will draw."""
    drawn: dict[nn.Module, DropoutMask] = {}
    real = fused_layer.draw_mask

    def spy(dropout: nn.Dropout | None) -> DropoutMask:
        mask = real(dropout)
        if dropout is not None and dropout.training:
            drawn[dropout] = mask
        return mask

    monkeypatch.setattr(fused_layer, "draw_mask", spy)
    return drawn


def apply_mask(layer: nn.Module, mask: DropoutMask, shape: tuple[int, ...]) -> None:
    """Let a dropout layer use this mask, whose elements are numbered with the channels last."""
    channels, height, width = shape
    kept = torch.from_numpy(draw_kept(BATCH_SIZE * channels * height * width, mask))
    kept = kept.view(BATCH_SIZE, height, width, channels).permute(0, 3, 1, 2)
    layer.forward = lambda values: values * kept * mask.keep_scale  # type: ignore[method-assign]


def check_gradients(network: nn.Sequential, twin: nn.Sequential) -> None:
    """Those of the twin, which is in float64."""
    for (name, parameter), other in zip(network.named_parameters(), twin.parameters(), strict=True):
        assert parameter.grad is not None
        assert other.grad is not None
        # A bias before batch norm has no effect: its gradient is rounding and nothing else.
        scale = max(other.grad.abs().max().item(), 0.02)
        error = (parameter.grad - other.grad).abs().max().item()
        assert error < 1e-4 * scale, name


@pytest.mark.parametrize("ablation", NETWORKS, ids=lambda ablation: ablation.name)
def test_forward_and_backward_are_those_of_the_layers(
    ablation: Ablation, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = without_head_dropout(build(ablation.network_spec))
    twin = copy.deepcopy(network).double()
    images, labels = random_batch()
    drawn = record_masks(monkeypatch)
    # With this seed no pooling window holds a near tie, which float64 may decide differently.
    torch.manual_seed(1)
    loss = functional.cross_entropy(fuse(network)(images), labels)
    loss.backward()

    assert bool(drawn) == (ablation.network_spec.dropout > 0)
    shapes = {row.name: row.output_shape for row in layer_table(ablation.network_spec)}
    for name, layer in network.named_modules():
        if layer in drawn:
            apply_mask(twin.get_submodule(name), drawn[layer], shapes[name])
    expected = functional.cross_entropy(twin(images.double()), labels)
    expected.backward()

    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    check_gradients(network, twin)
    for (name, buffer), other in zip(network.named_buffers(), twin.buffers(), strict=True):
        assert torch.allclose(buffer.double(), other.double(), rtol=1e-4, atol=1e-5), name

    network.eval()
    with torch.inference_mode():
        exact = network(images)
        for dtype in (torch.float32, torch.bfloat16):
            logits = fuse(network, dtype)(images)
            assert logits.dtype == torch.float32
            assert torch.allclose(logits, exact, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("changes", [{}, {"block": "conv-relu"}, {"downsample": "stride"}], ids=str)
def test_bfloat16_is_float32_with_fewer_digits(changes: dict[str, Any]) -> None:
    images, labels = random_batch()
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        network = without_head_dropout(build(replace(TARGET, **changes)))
        torch.manual_seed(0)
        functional.cross_entropy(fuse(network, dtype)(images), labels).backward()
        gradients.append(
            torch.cat([parameter.grad.flatten() for parameter in network.parameters()])  # type: ignore[union-attr]
        )
    exact, rounded = gradients
    assert rounded.dtype == torch.float32
    assert functional.cosine_similarity(exact, rounded, dim=0) > 0.97
    assert rounded.norm() == pytest.approx(exact.norm().item(), rel=0.1)


def test_odd_images_are_pooled_as_in_pytorch() -> None:
    # The last row and column of 7 pixels are in no window.
    network = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2)
    )
    images = torch.rand(BATCH_SIZE, 2, 7, 7, generator=torch.Generator().manual_seed(0))
    twin = copy.deepcopy(network).double()
    fuse(network)(images).square().sum().backward()
    twin(images.double()).square().sum().backward()
    check_gradients(network, twin)


def test_everything_that_can_be_fused_is_fused() -> None:
    groups = group_layers([layer for _, layer in leaves(build_network(TARGET))])
    fused = [layer for layer in groups if isinstance(layer, FusedLayer)]
    assert [bool(layer.max_pool) for layer in fused] == [False, True] * 2 + [False] * 2
    assert [bool(layer.dropout) for layer in fused] == [False, True] * 2 + [False] * 2
    others = [type(layer) for layer in groups if not isinstance(layer, FusedLayer)]
    assert others == [nn.AdaptiveAvgPool2d, nn.Flatten, nn.Dropout, nn.Linear, nn.Linear]


def test_third_relu_and_a_large_pool_are_not_fused() -> None:
    layers = [nn.Conv2d(1, 1, 3), nn.ReLU(), nn.ReLU(), nn.ReLU(), nn.MaxPool2d(3)]
    fused = FusedLayer(layers[0], relu_before=layers[1], relu_after=layers[2])  # type: ignore[arg-type]
    assert group_layers(layers) == [fused, *layers[3:]]


@pytest.mark.parametrize(
    ("block", "dtype"),
    [
        ("conv-bn-relu", torch.float32),
        ("conv-relu", torch.bfloat16),
        ("conv-relu-bn", torch.float32),
        ("conv-bn", torch.bfloat16),
    ],
)
def test_nan_passes_through(block: str, dtype: torch.dtype) -> None:
    network = build(replace(TARGET, block=block))
    images, labels = random_batch()
    images[3, 0, 14, 14] = torch.nan
    loss = functional.cross_entropy(fuse(network, dtype)(images), labels)
    assert loss.isnan()


def test_frozen_batch_norm_has_no_gradient() -> None:
    network = build(TARGET)
    images, labels = random_batch()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
    loss = functional.cross_entropy(fuse(network)(images), labels)
    network.train()  # The mode of the forward pass counts.
    with pytest.raises(RuntimeError, match="evaluation mode"):
        loss.backward()


@pytest.mark.parametrize("name", ["stage1.block2.conv.weight", "stage2.block1.bn.weight"])
def test_weights_changed_before_the_gradients_are_an_error_as_in_pytorch(name: str) -> None:
    network = build(TARGET)
    images, labels = random_batch()
    for classify in (network, fuse(network)):
        loss = functional.cross_entropy(classify(images), labels)
        with torch.no_grad():
            network.get_parameter(name).mul_(3)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


@pytest.mark.parametrize("shape", [(3, 4, 9, 9), (3, 1, 9, 9), (3, 2, 2, 2), (1, 2, 3, 3)])
def test_images_of_a_wrong_shape_are_an_error_as_in_pytorch(shape: tuple[int, ...]) -> None:
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4))
    message = r"expected input|Kernel size|more than (one|1) value"
    for classify in (network, fuse(network)):
        with pytest.raises((RuntimeError, ValueError), match=message):
            classify(torch.rand(shape))


def test_gradients_may_be_taken_again_but_have_none_themselves() -> None:
    network = build(TARGET)
    images, labels = random_batch()
    parameters = list(network.parameters())
    loss = functional.cross_entropy(fuse(network)(images), labels)
    first = torch.autograd.grad(loss, parameters, retain_graph=True)
    again = torch.autograd.grad(loss, parameters, create_graph=True)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    with pytest.raises(RuntimeError, match="once_differentiable"):
        again[0].sum().backward()


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv2d(2, 4, 3, dilation=2), nn.ReLU()],
        [nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular"), nn.ReLU()],
        [nn.Conv2d(2, 4, 3, groups=2), nn.ReLU()],
        [nn.Conv2d(2, 4, 3, padding="same"), nn.ReLU()],
        [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, momentum=None)],
        [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, affine=False)],
        [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)],
        [nn.Conv2d(2, 4, 3), nn.MaxPool2d(2, ceil_mode=True)],
    ],
    ids=repr,
)
def test_layers_with_other_settings_are_not_fused(layers: list[nn.Module]) -> None:
    assert group_layers(layers) == layers
    images = torch.rand(3, 2, 9, 9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(fuse(nn.Sequential(*layers))(images), nn.Sequential(*layers)(images))


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.floats(0.01, 0.9))
def test_masks_look_random(seed: int, probability: float) -> None:
    size = 40_000
    torch.manual_seed(seed)

    def draw() -> np.ndarray:
        kept: np.ndarray = draw_kept(size, fused_layer.draw_mask(nn.Dropout(probability)))
        return ~kept

    dropped = draw()
    deviation = (probability * (1 - probability) / size) ** 0.5
    assert abs(dropped.mean() - probability) < 6 * deviation
    # Neighbours, the same channel of neighbouring pixels, and the next masks.
    others = [np.roll(dropped, shift) for shift in (1, 8, 16, 32, 8 * 28)]
    others += [draw(), draw()]
    for other in others:
        both = (dropped & other).mean()
        deviation = probability * ((1 - probability**2) / size) ** 0.5
        assert abs(both - probability**2) < 8 * deviation


@given(st.lists(st.floats(width=32), min_size=1, max_size=40))
@example([math.nan, -math.nan, math.inf])
def test_bfloat16_is_rounded_as_in_pytorch(numbers: list[float]) -> None:
    # Rounding up the bits of the largest NaN would overflow.
    values = torch.tensor([*numbers, 0.0], dtype=torch.float32)
    values[-1:].view(torch.int32)[:] = 0x7FFFFFFF
    out = torch.empty(len(values), dtype=torch.bfloat16)
    channels = np.zeros((4, len(values)), np.float32)
    channels[kernels.SCALE] = 1
    no_dropout = DropoutMask((np.uint32(0), np.uint32(0)), np.uint32(0), np.float32(1))
    arguments = EpilogueArguments(channels, kernels.NO_FLOOR, kernels.NO_FLOOR, no_dropout)
    apply_epilogue(values.numpy()[None], out.view(torch.uint16).numpy()[None], arguments)
    assert torch.equal(out.nan_to_num(nan=7.0), values.bfloat16().nan_to_num(nan=7.0))


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e3), st.integers(0, 2**31))
def test_variance_keeps_its_digits_however_large_the_mean(
    mean: float, deviation: float, seed: int
) -> None:
    stream = torch.Generator().manual_seed(seed)
    values = torch.randn(6, 3, 7, 7, generator=stream) * deviation + mean
    found = np.empty((2, 3))
    sums = kernels.sum_moments(as_rows(values), kernels.NO_FLOOR, 3)
    kernels.compute_moments(*sums, values.numel() // 3, found)
    exact = values.double()
    assert found[0] == pytest.approx(exact.mean((0, 2, 3)).numpy(), rel=1e-5, abs=1e-5 * deviation)
    assert found[1] == pytest.approx(exact.var((0, 2, 3), unbiased=False).numpy(), rel=1e-4)


def test_network_that_was_moved_must_be_fused_again() -> None:
    network = build(TARGET)
    classify = fuse(network)
    images, _ = random_batch()
    before = classify(images)
    network.load_state_dict(build(TARGET).state_dict())  # copies numbers, in place
    classify(images)
    network.double().float()
    with pytest.raises(RuntimeError, match="moved after `fuse`"):
        classify(images)
    assert fuse(network)(images).shape == before.shape
