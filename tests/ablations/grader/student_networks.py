"""Networks as students submit them. Tests append more classes to this file's text."""

import os  # noqa: F401 (for the networks that tests append)
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


class Einsum(Layers):
    """NumPy's argument names."""

    def forward(self, x):
        return torch.einsum("bc,oc->bo", self.features(x).mean(axis=(2, 3)), self.conv.weight)


class ChannelsLast(Layers):
    def forward(self, x):
        return self.conv(torch.mean(self.features(x).permute(0, 2, 3, 1), axis=[1, 2]))


class Lazy(Layers):
    """`view` needs contiguous memory, and the lazy layer an input."""

    def __init__(self):
        super().__init__()
        self.conv = nn.LazyLinear(10)

    def forward(self, x):
        x = self.features(x)
        flat = x.view(x.size(0), -1)
        return self.conv(torch.cat([self.norm(x).view(len(x), -1), flat[:, :5]], 1))


class Discarded(Layers):
    """Every concept is computed, but the output depends on none."""

    def forward(self, x):
        super().forward(x)
        return self.dropout(x)[:, :1].flatten(1)[:, :10]


class Centred(nn.Module):
    """Neither the mean of the images nor that of a part of a feature map is global pooling."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 10)
        self.conv = nn.Conv2d(1, 8, 5)

    def forward(self, x):
        x = self.conv(x - x.mean((2, 3), keepdim=True))
        return self.fc(F.avg_pool2d(x, 13).flatten(1))


class ZeroDropout(Layers):
    def __init__(self):
        super().__init__()
        self.linear = nn.Dropout(0.0)


class InactiveDropout(Layers):
    def forward(self, x):
        self.linear.eval()
        return super().forward(F.dropout(x + 0 * self.conv.bias[0], 0.1, training=False))


class OneByOne(Layers):
    """A convolution instead of a fully connected layer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 10, 1)

    def forward(self, x):
        return self.conv(self.norm(self.features(x))).flatten(1)


class InAList(Layers):
    def __init__(self):
        super().__init__()
        self.hidden = [nn.Conv2d(8, 200, 3), nn.Conv2d(200, 8, 3)]

    def features(self, x):
        x = super().features(x)
        for layer in self.hidden:
            x = layer(x)
        return x


class AllInAList(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = [nn.Flatten(), nn.Linear(784, 10)]

    def forward(self, x):
        return self.layers[1](self.layers[0](x))


class Frozen(Layers):
    def __init__(self):
        super().__init__()
        self.extra = nn.Parameter(torch.zeros(20_000), requires_grad=False)


class Prints(Layers):
    def forward(self, x):
        print('{"trained": 1}')
        return super().forward(x)


class OneFailsOneHangs(Layers):
    """Of two trainings, the first to reach the marker hangs, and the other one fails."""

    def forward(self, x):
        if len(x) > 4:
            try:
                Path(__file__ + ".marker").touch(exist_ok=False)
            except FileExistsError:
                raise ValueError("second") from None
            time.sleep(3600)
        return super().forward(x)


def make():
    return Layers()


MODULE = Layers()
SPEC = NetworkSpec(channels=(4, 4))
FIVE = 5
