"""Wide networks: they compute what their replicas compute, and return them unchanged."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ablations.catalogue.ablation import Ablation
from ablations.catalogue.entries import CATALOGUE, find_ablation
from ablations.training.seeding import initialise_weights
from mnist_blocks.network import build_network
from mnist_blocks.summary import layer_table
from speed.gpu.capture import capture
from speed.gpu.wide import WideDropout, WideNetwork, narrow, widen

every_network = pytest.mark.parametrize(
    "ablation",
    [ablation for ablation in CATALOGUE if ablation.kind != "training"],
    ids=lambda entry: entry.name,
)
NUM_REPLICAS = 3
BATCH_SIZE = 6
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here"),
    ),
]


def build_networks(ablation: Ablation) -> list[nn.Sequential]:
    networks = [build_network(ablation.network_spec).double() for _ in range(NUM_REPLICAS)]
    for seed, network in enumerate(networks):
        initialise_weights(network, seed)
        # Fresh batch norm is the same in every replica; after this it is not.
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                    assert tensor is not None
                    tensor.data += 0.1 * torch.rand_like(tensor)
    return networks


def random_images() -> Tensor:
    stream = torch.Generator().manual_seed(0)
    return torch.rand(BATCH_SIZE, NUM_REPLICAS, 28, 28, generator=stream, dtype=torch.float64)


def set_masks(wide: WideNetwork, networks: list[nn.Sequential], ablation: Ablation) -> None:
    """Give the wide network's dropout layers masks, and the networks' layers the same."""
    shapes = {row.name: row.output_shape for row in layer_table(ablation.network_spec)}
    for name, layer in wide.named_modules():
        if not isinstance(layer, WideDropout):
            continue
        stream = torch.Generator().manual_seed(1)
        layer.mask = torch.rand(NUM_REPLICAS, BATCH_SIZE, *shapes[name], generator=stream) > 0.3
        for network, mask in zip(networks, layer.mask, strict=True):
            single = network.get_submodule(name)
            scale = 1 / (1 - layer.probability)
            single.forward = lambda inputs, mask=mask, scale=scale: inputs * mask * scale


@every_network
def test_each_replica_is_the_network_that_went_in(ablation: Ablation) -> None:
    networks = build_networks(ablation)
    wide = widen(networks)
    images = random_images()
    with_dropout_off = wide.eval()(images)
    for replica, network in enumerate(networks):
        state, expected = narrow(wide, replica), network.state_dict()
        assert list(state) == list(expected)
        assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())
        alone = network.eval()(images[:, replica : replica + 1])
        torch.testing.assert_close(with_dropout_off[replica], alone)
        network.train()
    wide.train()
    labels = torch.arange(BATCH_SIZE) % 10
    set_masks(wide, networks, ablation)
    logits = wide(images)
    assert logits.shape == (NUM_REPLICAS, BATCH_SIZE, 10)
    sum(functional.cross_entropy(one, labels) for one in logits).backward()
    wide_gradients = {name: parameter.grad for name, parameter in wide.named_parameters()}
    for replica, network in enumerate(networks):
        alone = network(images[:, replica : replica + 1])
        torch.testing.assert_close(logits[replica], alone)
        functional.cross_entropy(alone, labels).backward()
        for name, parameter in network.named_parameters():
            gradient = wide_gradients[name].unflatten(0, (NUM_REPLICAS, -1))[replica]
            torch.testing.assert_close(gradient, parameter.grad, rtol=1e-6, atol=1e-12)
        # Batch norm's running statistics have moved in both.
        for (name, tensor), (other_name, other) in zip(
            network.state_dict().items(), narrow(wide, replica).items(), strict=True
        ):
            assert name == other_name
            torch.testing.assert_close(tensor, other)


@pytest.mark.parametrize("device", DEVICES)
@every_network
def test_nan_stays_in_its_replica(ablation: Ablation, device: str) -> None:
    networks = [network.float() for network in build_networks(ablation)]
    with torch.no_grad():
        for parameter in networks[1].parameters():
            parameter.fill_(math.nan)
    wide = widen(networks).to(device)
    set_masks(wide, networks, ablation)
    for layer in wide.modules():
        if isinstance(layer, WideDropout) and layer.mask is not None:
            layer.mask = layer.mask.to(device)
    logits = wide(random_images().float().to(device))
    assert logits[1].isnan().all()
    assert logits[[0, 2]].isfinite().all()
    logits.logsumexp(dim=2).sum().backward()
    for name, parameter in wide.named_parameters():
        gradient = parameter.grad.unflatten(0, (NUM_REPLICAS, -1))
        assert gradient[[0, 2]].isfinite().all(), name


def test_layer_without_a_wide_form_and_dropout_without_a_mask_are_errors() -> None:
    target = build_network(find_ablation("target").network_spec)
    with pytest.raises(TypeError, match="Sigmoid has no wide form"):
        widen([nn.Sequential(nn.Sigmoid())])
    with pytest.raises(RuntimeError, match="no mask"):
        widen([target])(torch.zeros(2, 1, 28, 28))


def test_without_a_gpu_nothing_is_captured() -> None:
    def steps(first: int, second: int) -> None: ...

    assert capture(steps, torch.device("cpu")) is steps


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
def test_captured_steps_are_called_once_and_replayed() -> None:
    device = torch.device("cuda")
    total, addend = torch.zeros(2, device=device)
    calls: list[tuple[int, int]] = []

    def add(times: int, factor: int) -> None:
        calls.append((times, factor))
        for _ in range(times):
            total.add_(addend * factor)

    captured = capture(add, device)
    for value in (1.0, 10.0, 100.0):
        addend.fill_(value)
        captured(2, 1)
    captured(1, 3)
    # An ordinary call, a capture (which reads its input when it is replayed), a replay.
    assert calls == [(2, 1), (2, 1), (1, 3)]
    assert total.item() == 2 * 111 + 3 * 100
