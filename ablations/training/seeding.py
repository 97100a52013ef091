"""Named random streams, which make the comparison of two variants fair.

Each use of randomness has its own stream, derived from the run's seed and a name. Two variants with
the same seed therefore see the same images in the same order with the same augmentation, and layers
that both have start from the same weights, whatever else differs.
"""

import hashlib
import math

import torch
from torch import nn

from mnist_blocks.summary import leaves


def derive_seed(seed: int, name: str) -> int:
    """A 63-bit seed for the stream `name` of the run `seed`, such as `"order.epoch3"`."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def random_stream(seed: int, name: str) -> torch.Generator:
    """A generator on the CPU, whose numbers are the same for every device."""
    return torch.Generator().manual_seed(derive_seed(seed, name))


def initialise_weights(network: nn.Module, seed: int) -> None:
    """Draw every layer's initial weights from a stream with the layer's name.

    Weights and biases of convolutions and linear layers are uniform within 1 / sqrt(fan-in), as
    PyTorch's default (LeCun et al., "Efficient BackProp", 1998, section 4.6, explain the scale).
    Batch norm starts as the identity.
    """
    for name, layer in leaves(network):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            stream = random_stream(seed, f"init.{name}")
            bound = 1 / math.sqrt(layer.weight[0].numel())
            with torch.no_grad():
                layer.weight.uniform_(-bound, bound, generator=stream)
                if layer.bias is not None:
                    layer.bias.uniform_(-bound, bound, generator=stream)
