"""Networks as students submit them. Tests append more classes to this file's text."""

import os
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from mnist_blocks import NetworkSpec


class Layers(nn.Module):
    """Every concept as a layer, with misleading names."""

    def __init__(self):
        super().__init__()
        self.dropout = nn.Conv2d(1, 8, 3)
        self.pool = nn.BatchNorm2d(8)
        self.linear = nn.Dropout(0.1)
        self.norm = nn.AdaptiveAvgPool2d(1)
        self.conv = nn.Linear(8, 10)

    def features(self, x):
        return self.linear(torch.relu(self.pool(self.dropout(x))))

    def forward(self, x):
        return self.conv(self.norm(self.features(x)).flatten(1))


class Functions(nn.Module):
    """Every concept as a function."""

    def __init__(self):
        super().__init__()
        self.kernels = nn.Parameter(0.1 * torch.randn(8, 1, 3, 3))
        self.weight = nn.Parameter(0.1 * torch.randn(10, 8))

    def forward(self, x):
        x = F.batch_norm(F.conv2d(x, self.kernels), None, None, training=True)
        x = F.dropout(F.relu(x), 0.1, self.training)
        return F.log_softmax(F.linear(x.mean(dim=(2, 3)), self.weight), dim=1)


class Products(Functions):
    def forward(self, x):
        x = F.batch_norm(F.conv2d(x, self.kernels), None, None, training=True)
        x = torch.dropout(F.relu(x, inplace=True), 0.1, self.training)
        return F.adaptive_avg_pool1d(x.flatten(2), 1).squeeze() @ self.weight.T


class Lazy(Layers):
    """`view` needs contiguous memory, and the lazy layer an input."""

    def __init__(self):
        super().__init__()
        self.conv = nn.LazyLinear(10)

    def forward(self, x):
        x = self.features(x)
        flat = x.view(x.size(0), -1)
        return self.conv(torch.cat([self.norm(x).view(len(x), -1), flat[:, :5]], 1))


class OneFailsOneHangs(Layers):
    """Of two trainings, the first to reach the marker (in the last batch, unlike in the inspection) hangs, and the other one ends its process."""

    def forward(self, x):
        if len(x) != 128:
            try:
                Path(__file__ + ".marker").touch(exist_ok=False)
            except FileExistsError:
                os.write(2, b"last line")
                os._exit(3)
            time.sleep(3600)
        return super().forward(x)


def make():
    return Layers()


MODULE = Layers()
SPEC = NetworkSpec(channels=(4, 4))
