"""Several networks of one shape as one wider network, each with its own weights.

A small network leaves a GPU idle: its kernels end before the next one is launched. S replicas side
by side are one network with S times the channels, whose grouped convolutions keep the replicas
apart (Wang et al., "Horizontally Fused Training Array", MLSys 2021, arXiv:2102.02344). Every layer
has an exact wide form:

=============== ================================================ ==========================
one network     S replicas                                       activations
=============== ================================================ ==========================
convolution     S times the channels and the groups              (batch, S * C, H, W)
batch norm      the same over S * C channels                     (batch, S * C, H, W)
ReLU, pooling   the same layer                                   (batch, S * C, H, W)
dropout         masks given from outside, one for each replica   as the layer before
flatten         the replicas become the first axis               (S, batch, C * H * W)
linear          one batched matrix product                       (S, batch, features)
=============== ================================================ ==========================

Every tensor of the wide network is its replicas' tensors concatenated along the first axis, under
the same name, so extracting a replica is taking a slice. The one exception is batch norm's count of
steps, a single number, which replicas share since they step together.
"""

import copy
from collections import OrderedDict
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class WideNetwork(nn.Sequential):
    """S networks side by side; layers keep their names.

    Shapes: images (batch, S, 28, 28) -> logits (S, batch, 10). Channel k holds the images of
    replica k, and `logits[k]` its logits, contiguous in memory.
    """

    num_replicas: int


class _WideFlatten(nn.Module):
    """From feature maps to vectors, with the replicas as the first axis.

    Shapes: (batch, S * C, H, W) -> (S, batch, C * H * W).
    """

    def __init__(self, num_replicas: int) -> None:
        super().__init__()
        self.num_replicas = num_replicas

    def forward(self, inputs: Float[Tensor, "batch wide_channels H W"]) -> Tensor:
        return inputs.reshape(len(inputs), self.num_replicas, -1).transpose(0, 1)


class _WideLinear(nn.Module):
    """A linear layer for each replica.

    Shapes: (S, batch, in_features) -> (S, batch, out_features). The weight's rows are the
    replicas' rows, one replica after another.
    """

    def __init__(self, num_replicas: int, in_features: int, out_features: int) -> None:
        super().__init__()
        self.num_replicas = num_replicas
        self.weight = nn.Parameter(torch.empty(num_replicas * out_features, in_features))
        self.bias = nn.Parameter(torch.empty(num_replicas * out_features))

    def forward(
        self, inputs: Float[Tensor, "replicas batch in_features"]
    ) -> Float[Tensor, "replicas batch out_features"]:
        weight: Tensor = self.weight.unflatten(0, (self.num_replicas, -1))
        bias = self.bias.view(self.num_replicas, 1, -1)
        return torch.baddbmm(bias, inputs, weight.mT)


class WideDropout(nn.Module):
    """Dropout with masks from outside: assign `mask` before each training step.

    Each replica's masks come from its own random stream. Shapes: those of the layer before, feature
    maps or vectors.
    """

    mask: Bool[Tensor, "replicas batch *features"] | None
    """True where an activation is kept."""

    def __init__(self, probability: float, num_replicas: int) -> None:
        super().__init__()
        self.probability = probability
        self.num_replicas = num_replicas
        self.mask = None

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training:
            return inputs
        if self.mask is None:
            raise RuntimeError("wide dropout has no mask: assign `mask` before each training step")
        if inputs.ndim == 4:
            apart: Tensor = inputs.unflatten(1, (self.num_replicas, -1))
            kept = (apart * self.mask.transpose(0, 1)).flatten(1, 2)
        else:
            kept = inputs * self.mask
        # Scaled so that the expected value stays the same.
        return kept / (1 - self.probability)


def widen(networks: Sequence[nn.Sequential]) -> WideNetwork:
    """One wide network whose replica k is a copy of `networks[k]`, on its device, in its dtype.

    The networks have the same layers.

    Raises:
        TypeError: a layer has no wide form here.
    """
    states = [network.state_dict() for network in networks]
    with torch.device("meta"):  # only shapes: the weights come from the networks
        wide = WideNetwork(_wide_layers(networks[0], len(networks)))
    wide.num_replicas = len(networks)
    # A count of steps is shared.
    joined = {
        name: torch.cat([state[name] for state in states]) if first.ndim else first.clone()
        for name, first in states[0].items()
    }
    wide.load_state_dict(joined, assign=True)
    return wide


def _wide_layers(network: nn.Sequential, num_replicas: int) -> OrderedDict[str, nn.Module]:
    return OrderedDict(
        (name, _wide_layer(layer, num_replicas)) for name, layer in network.named_children()
    )


def _wide_layer(layer: nn.Module, num_replicas: int) -> nn.Module:
    """A layer's wide form. Raises TypeError if it has none here."""
    match layer:
        case nn.Sequential():
            return nn.Sequential(_wide_layers(layer, num_replicas))
        case nn.Conv2d(kernel_size=(height, width), stride=(down, right)):
            assert not isinstance(layer.padding, str)
            return nn.Conv2d(
                num_replicas * layer.in_channels,
                num_replicas * layer.out_channels,
                kernel_size=(height, width),
                stride=(down, right),
                padding=(layer.padding[0], layer.padding[1]),
                groups=num_replicas * layer.groups,
                bias=layer.bias is not None,
            )
        case nn.BatchNorm2d():
            return nn.BatchNorm2d(
                num_replicas * layer.num_features, eps=layer.eps, momentum=layer.momentum
            )
        case nn.Linear():
            return _WideLinear(num_replicas, layer.in_features, layer.out_features)
        case nn.Dropout():
            return WideDropout(layer.p, num_replicas)
        case nn.Flatten():
            return _WideFlatten(num_replicas)
        case nn.ReLU() | nn.MaxPool2d() | nn.AdaptiveAvgPool2d():
            return copy.deepcopy(layer)
    raise TypeError(
        f"{type(layer).__name__} has no wide form: add one to `_wide_layer` in speed/gpu/wide.py"
    )


def narrow(wide: WideNetwork, replica: int) -> dict[str, Tensor]:
    """A copy of one replica's state dict, with the names and shapes of a single network."""
    return {
        name: (
            tensor.unflatten(0, (wide.num_replicas, -1))[replica] if tensor.ndim else tensor
        ).clone()
        for name, tensor in wide.state_dict().items()
    }
