"""Which layers of a network are computed together with the convolution before them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from speed.cpu import kernels


@dataclass(frozen=True)
class Epilogue:
    """The layers between a convolution and the next layer with weights, in this order."""

    relu_before: nn.ReLU | None = None
    batch_norm: nn.BatchNorm2d | None = None
    relu_after: nn.ReLU | None = None
    max_pool: nn.MaxPool2d | None = None
    dropout: nn.Dropout | None = None

    @property
    def floor(self) -> np.float32:
        """The minimum that values are clamped to before batch norm."""
        return np.float32(0) if self.relu_before else kernels.NO_FLOOR

    @property
    def floor_after(self) -> np.float32:
        """The minimum that values are clamped to after batch norm."""
        return np.float32(0) if self.relu_after else kernels.NO_FLOOR


LAYER_TYPES = {
    "relu_before": nn.ReLU,
    "batch_norm": nn.BatchNorm2d,
    "relu_after": nn.ReLU,
    "max_pool": nn.MaxPool2d,
    "dropout": nn.Dropout,
}


def group_layers(layers: Sequence[nn.Module]) -> list[tuple[nn.Module, Epilogue | None]]:
    """Each convolution with the layers after it that can be fused; other layers by themselves."""
    groups: list[tuple[nn.Module, Epilogue | None]] = []
    remaining = list(layers)
    while remaining:
        layer = remaining.pop(0)
        found: dict[str, nn.Module] = {}
        if isinstance(layer, nn.Conv2d) and _has_supported_settings(layer):
            # Without batch norm it makes no difference which of its fields a ReLU fills.
            for field, kind in LAYER_TYPES.items():
                if (
                    remaining
                    and type(remaining[0]) is kind
                    and _has_supported_settings(remaining[0])
                ):
                    found[field] = remaining.pop(0)
        # mypy cannot know that the fields fit the layers' types.
        groups.append((layer, Epilogue(**found) if found else None))  # type: ignore[arg-type]
    return groups


def _has_supported_settings(layer: nn.Module) -> bool:
    """Whether the kernels do all that a layer does; a layer with other settings is not fused."""
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
