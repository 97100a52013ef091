"""Tensors as the compiled kernels read them: raw memory, all channels of a pixel side by side."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class ActivationRows(NamedTuple):
    """The activations of a batch: a matrix with one row for each row of an image."""

    rows: Tensor
    """(batch x height, width x channels), float32, or bfloat16's bits as uint16."""
    num_channels: int
    height: int
    width: int

    @classmethod
    def of(cls, tensor: Tensor) -> "ActivationRows":
        """Those of a tensor (batch, channels, H, W), whose memory is used if possible."""
        batch_size, num_channels, height, width = tensor.shape
        last = tensor.detach().permute(0, 2, 3, 1).contiguous()
        rows = last.view(batch_size * height, width * num_channels)
        is_bfloat16 = rows.dtype == torch.bfloat16
        return cls(rows.view(torch.uint16) if is_bfloat16 else rows, num_channels, height, width)

    @classmethod
    def empty(
        cls, batch_size: int, num_channels: int, height: int, width: int, dtype: torch.dtype
    ) -> "ActivationRows":
        """Uninitialised memory for a batch."""
        rows = torch.empty((batch_size * height, width * num_channels), dtype=dtype)
        return cls(rows, num_channels, height, width)

    @property
    def batch_size(self) -> int:
        """Number of images."""
        return len(self.rows) // self.height

    @property
    def values_per_channel(self) -> int:
        """How many values each channel has."""
        return self.rows.numel() // self.num_channels

    def as_tensor(self) -> Tensor:
        """(batch, channels, H, W) in the same memory."""
        rows = self.rows.view(torch.bfloat16) if self.rows.dtype == torch.uint16 else self.rows
        return rows.view(-1, self.height, self.width, self.num_channels).permute(0, 3, 1, 2)


def weight_rows(weight: Tensor) -> NDArray[np.float32]:
    """A convolution's weights as (out channels, height, width x in channels): their own memory if
    their channels are last."""
    array: NDArray[np.float32] = weight.detach().permute(0, 2, 3, 1).contiguous().numpy()
    return array.reshape(*array.shape[:2], -1)


def as_array(tensor: Tensor) -> NDArray[np.float32]:
    """A parameter's memory as a NumPy array."""
    array: NDArray[np.float32] = tensor.detach().numpy()
    return array
