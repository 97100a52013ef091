"""mnist_blocks: specs, blocks, networks and their layer tables."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given

from mnist_blocks import TARGET, NetworkSpec
from mnist_blocks.network import build_network
from mnist_blocks.summary import count_parameters, layer_table, leaves
from tests.strategies import network_specs

# The assignment's own table: (description, output shape, parameters). Activations and the
# flattening of a 1x1 map are not in it.
REFERENCE_TABLE = [
    ("conv 3x3, 1 -> 8", (8, 28, 28), 80),
    ("batch norm 8", (8, 28, 28), 16),
    ("conv 3x3, 8 -> 8", (8, 28, 28), 584),
    ("batch norm 8", (8, 28, 28), 16),
    ("max pool 2", (8, 14, 14), 0),
    ("dropout 0.1", (8, 14, 14), 0),
    ("conv 3x3, 8 -> 16", (16, 14, 14), 1168),
    ("batch norm 16", (16, 14, 14), 32),
    ("conv 3x3, 16 -> 16", (16, 14, 14), 2320),
    ("batch norm 16", (16, 14, 14), 32),
    ("max pool 2", (16, 7, 7), 0),
    ("dropout 0.1", (16, 7, 7), 0),
    ("conv 3x3, 16 -> 32", (32, 7, 7), 4640),
    ("batch norm 32", (32, 7, 7), 64),
    ("conv 3x3, 32 -> 32", (32, 7, 7), 9248),
    ("batch norm 32", (32, 7, 7), 64),
    ("global average pool", (32, 1, 1), 0),
    ("dropout 0.1", (32,), 0),
    ("linear 32 -> 16", (16,), 528),
    ("linear 16 -> 10", (10,), 170),
]


def test_target_is_the_reference_network() -> None:
    rows = [row for row in layer_table(TARGET) if row.description not in ("ReLU", "flatten")]
    assert [(row.description, row.output_shape, row.parameters) for row in rows] == REFERENCE_TABLE
    assert count_parameters(build_network(TARGET)) == 18_962


@pytest.mark.parametrize(
    ("downsample", "expected"),
    [
        ("maxpool", [3, 5, 6, 10, 14, 16, 24, 32, 56]),
        ("stride", [3, 5, 9, 13, 21, 29, 53]),
    ],
)
def test_receptive_field_by_hand(downsample: str, expected: list[int]) -> None:
    # r += (k - 1) j, then j *= s, worked out on paper for the convolutions and pools.
    steps = [
        row.receptive_field
        for row in layer_table(replace(TARGET, downsample=downsample))  # type: ignore[arg-type]
        if row.description.startswith(("conv", "max", "global"))
    ]
    assert steps == expected


@given(network_specs())
def test_every_spec_builds_and_its_table_is_true(spec: NetworkSpec) -> None:
    network = build_network(spec).eval()
    shapes = []
    hooks = [
        layer.register_forward_hook(lambda _layer, _in, out: shapes.append(tuple(out.shape[1:])))
        for _, layer in leaves(network)
    ]
    logits = network(torch.zeros(2, 1, 28, 28))
    for hook in hooks:
        hook.remove()
    rows = layer_table(spec)
    assert logits.shape == (2, 10)
    assert [row.output_shape for row in rows] == shapes
    assert [row.name for row in rows] == [name for name, _ in leaves(network)]
    assert sum(row.parameters for row in rows) == count_parameters(network)


@pytest.mark.parametrize("block", ["conv-bn-relu", "conv-relu-bn", "bn-relu-conv", "conv"])
def test_recipe_is_the_order_of_the_layers(block: str) -> None:
    names = [name for name, _ in leaves(build_network(replace(TARGET, block=block)).stage1.block1)]
    assert names == block.split("-")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block": "conv-bm-relu"}, "unknown step 'bm'"),
        ({"block": "bn-relu"}, "needs a 'conv' step"),
        ({"block": "conv-relu-relu"}, "each step may occur once"),
        ({"channels": ()}, "a positive number for each stage"),
        ({"channels": (8, 0)}, "a positive number for each stage"),
        ({"channels": (1, 1, 1, 1, 1, 1)}, "at most five"),
        ({"convs_per_stage": 0}, "needs at least 1"),
        ({"dropout": 1.0}, "probability in"),
        ({"downsample": "avgpool"}, "'maxpool' or 'stride'"),
        ({"pooling": "max"}, "'gap' or 'flatten'"),
        ({"head": "linear"}, "'fc' or 'conv'"),
        ({"hidden_features": (0,)}, "positive widths"),
    ],
)
def test_invalid_spec_names_field_value_and_fix(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        replace(TARGET, **changes)  # type: ignore[arg-type]
    [field] = changes
    assert str(error.value).startswith(f"{field}=")


def test_no_fc_head_is_gap_and_one_linear_layer_when_nothing_is_dropped() -> None:
    # As the catalogue states: the average of a linear map is the linear map of the average.
    by_conv = build_network(replace(TARGET, head="conv")).eval()
    by_linear = build_network(replace(TARGET, hidden_features=())).eval()
    weights = dict(by_conv.state_dict())
    weights["head.fc1.weight"] = weights.pop("head.conv.weight").flatten(1)
    weights["head.fc1.bias"] = weights.pop("head.conv.bias")
    by_linear.load_state_dict(weights)
    images = torch.rand(4, 1, 28, 28)
    torch.testing.assert_close(by_conv(images), by_linear(images), rtol=1e-4, atol=1e-5)
