"""Which layers of a network can be computed together with the convolution before them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from speed.cpu import kernels


@dataclass(frozen=True)
class Followers:
    """The layers between a convolution and the next layer with weights, those that are there."""

    relu_before: nn.ReLU | None = None
    batch_norm: nn.BatchNorm2d | None = None
    relu_after: nn.ReLU | None = None
    max_pool: nn.MaxPool2d | None = None
    dropout: nn.Dropout | None = None

    @property
    def floor(self) -> np.float32:
        """What values are raised to before batch norm."""
        return np.float32(0) if self.relu_before else kernels.NO_FLOOR

    @property
    def floor_after(self) -> np.float32:
        """What values are raised to after batch norm."""
        return np.float32(0) if self.relu_after else kernels.NO_FLOOR


ORDER = {
    nn.BatchNorm2d: ["batch_norm"],
    nn.ReLU: ["relu_before", "relu_after"],
    nn.MaxPool2d: ["max_pool"],
    nn.Dropout: ["dropout"],
}
"""The place, or the places, that a layer may take among the followers of a convolution."""


def group_layers(layers: Sequence[nn.Module]) -> list[tuple[nn.Module, Followers | None]]:
    """Each convolution with the layers after it that can be fused; other layers by themselves."""
    groups: list[tuple[nn.Module, Followers | None]] = []
    remaining = list(layers)
    while remaining:
        layer = remaining.pop(0)
        found: dict[str, nn.Module] = {}
        if has_usual_settings(layer) and isinstance(layer, nn.Conv2d):
            while remaining and (place := next_place(remaining[0], found)):
                found[place] = remaining.pop(0)
        # mypy cannot know that the places fit the layers' types.
        groups.append((layer, Followers(**found) if found else None))  # type: ignore[arg-type]
    return groups


def next_place(layer: nn.Module, found: dict[str, nn.Module]) -> str | None:
    """The place of a layer among the followers, if it may come after those found so far."""
    places = list(Followers.__dataclass_fields__)
    latest = max((places.index(place) for place in found), default=-1)
    for place in ORDER.get(type(layer), []):
        if places.index(place) > latest and has_usual_settings(layer):
            # Without batch norm it makes no difference where a ReLU stands.
            return place
    return None


def has_usual_settings(layer: nn.Module) -> bool:
    """Whether the kernels do all that a layer does; one with other settings is left as it is."""
    match layer:
        case nn.Conv2d():
            is_plain = layer.groups == 1 and layer.dilation == (1, 1)
            return is_plain and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
        case nn.BatchNorm2d():
            return layer.affine and layer.track_running_stats and layer.momentum is not None
        case nn.MaxPool2d():
            is_2x2 = layer.kernel_size == layer.stride == 2
            return is_2x2 and layer.padding == 0 and layer.dilation == 1 and not layer.ceil_mode
    return True
