"""Errors of wide networks, and the capture of steps.

`tests/ablations/training/test_replicas.py` compares what wide networks compute.
"""

import pytest
import torch
from torch import nn

from mnist_blocks import TARGET
from mnist_blocks.network import build_network
from speed.gpu.capture import capture
from speed.gpu.wide import widen


def test_layer_without_a_wide_form_and_dropout_without_a_mask_are_errors() -> None:
    with pytest.raises(TypeError, match="Sigmoid has no wide form"):
        widen([nn.Sequential(nn.Sigmoid())])
    with pytest.raises(RuntimeError, match="no mask"):
        widen([build_network(TARGET)])(torch.zeros(2, 1, 28, 28))


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
