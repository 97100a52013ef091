"""Networks as students hand them in, for tests of the grader: good ones, odd ones, broken ones."""

import os
import sys
import time

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
        self.unused_norm = nn.Identity()

    def forward(self, x):
        x = self.linear(torch.relu(self.pool(self.dropout(x))))
        return self.conv(self.norm(x).flatten(1))


class Functions(nn.Module):
    """Every concept, and not one layer of it."""

    def __init__(self):
        super().__init__()
        self.kernels = nn.Parameter(0.1 * torch.randn(8, 1, 3, 3))
        self.weight = nn.Parameter(0.1 * torch.randn(10, 8))

    def forward(self, x):
        x = F.conv2d(x, self.kernels)
        x = F.batch_norm(x, None, None, training=True)
        x = F.dropout(F.relu(x), 0.1, self.training)
        return F.log_softmax(F.linear(x.mean(dim=(2, 3)), self.weight), dim=1)


class Unused(Layers):
    """Layers that are there, and do no work."""

    def forward(self, x):
        return self.dropout(x)[:, :1].flatten(1)[:, :10]


class Discarded(Layers):
    """Everything is computed, and nothing of it used."""

    def forward(self, x):
        super().forward(x)
        return self.dropout(x)[:, :1].flatten(1)[:, :10]


class Centred(nn.Module):
    """The mean of the images is no pooling of feature maps, nor is one over a part of the map."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 10)
        self.conv = nn.Conv2d(1, 8, 5)

    def forward(self, x):
        x = self.conv(x - x.mean((2, 3), keepdim=True))
        return self.fc(F.avg_pool2d(x, 13).flatten(1))


class Products(Functions):
    """The same in yet other ways."""

    def forward(self, x):
        x = F.batch_norm(F.conv2d(x, self.kernels), None, None, training=True)
        x = torch.dropout(F.relu(x, inplace=True), 0.1, self.training)
        return F.adaptive_avg_pool1d(x.flatten(2), 1).squeeze() @ self.weight.T


class SideBySide(Layers):
    def forward(self, x):
        x = self.linear(torch.relu(self.pool(self.dropout(x)))).permute(0, 2, 3, 1)
        return self.conv(x.mean((1, 2)))


class Flat(Layers):
    """`view` wants the memory in the usual order."""

    def __init__(self):
        super().__init__()
        self.conv = nn.LazyLinear(10)

    def forward(self, x):
        x = self.linear(torch.relu(self.pool(self.dropout(x))))
        flat = x.view(x.size(0), -1)
        return self.conv(torch.cat([self.norm(x).view(len(x), -1), flat[:, :5]], 1))


class InAList(Layers):
    def __init__(self):
        super().__init__()
        self.hidden = [nn.Conv2d(8, 200, 3), nn.Conv2d(200, 8, 3)]

    def forward(self, x):
        x = self.linear(torch.relu(self.pool(self.dropout(x))))
        for layer in self.hidden:
            x = layer(x)
        return self.conv(self.norm(x).flatten(1))


class DropoutIsOff(Layers):
    """A dropout that lets everything through, in training, too."""

    def forward(self, x):
        x = F.dropout(torch.relu(self.pool(self.dropout(x))), 0.1, training=False)
        return self.conv(self.norm(self.linear.eval()(x)).flatten(1))


class Axes(Layers):
    """The names that NumPy has for the same."""

    def forward(self, x):
        x = self.linear(torch.relu(self.pool(self.dropout(x))))
        return torch.einsum("bc,oc->bo", x.mean(axis=(2, 3)), self.conv.weight)


class Mean(Layers):
    def forward(self, x):
        x = self.linear(torch.relu(self.pool(self.dropout(x))))
        return self.conv(torch.mean(x, axis=[2, 3]))


class DropoutStaysOn(Layers):
    def forward(self, x):
        return super().forward(F.dropout(x, 0.1))


class AllInAList(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = [nn.Flatten(), nn.Linear(784, 10)]

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class NothingMade(nn.Module):
    def forward(self, x):
        return self.fc(x)


class HangsAtOnce(Layers):
    def forward(self, x):
        time.sleep(600)


class NoDropout(Layers):
    def __init__(self):
        super().__init__()
        self.linear = nn.Dropout(0.0)


class OneByOne(Layers):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 10, 1)

    def forward(self, x):
        x = self.linear(torch.relu(self.pool(self.dropout(x))))
        return self.conv(self.norm(x)).flatten(1)


class Probabilities(Layers):
    def forward(self, x):
        return super().forward(x).softmax(1)


class Large(Layers):
    def __init__(self):
        super().__init__()
        self.extra = nn.Parameter(torch.zeros(20_000), requires_grad=False)


class Nine(Layers):
    def forward(self, x):
        return super().forward(x)[:, :9]


class Pair(Layers):
    def forward(self, x):
        return super().forward(x), x


class Infinite(Layers):
    def forward(self, x):
        return super().forward(x) / 0


class Raises(Layers):
    def forward(self, x):
        raise RuntimeError("shapes cannot be multiplied\nsecond line")


class OnlyBatches(Layers):
    def forward(self, x):
        assert len(x) > 1, "one image is too few"
        return super().forward(x)


class Nothing(nn.Module):
    def forward(self, x):
        return torch.ones(len(x), 10)


class Unconnected(Layers):
    def forward(self, x):
        return torch.ones(len(x), 10)


class NeedsArgument(Layers):
    def __init__(self, width):
        super().__init__()


class Ends(Layers):
    def forward(self, x):
        sys.exit(7)


class Dies(Layers):
    def forward(self, x):
        os._exit(3)


class Crashes(Layers):
    def forward(self, x):
        os.kill(os.getpid(), 11)


class Prints(Layers):
    def forward(self, x):
        print('{"trained": 1}')
        return super().forward(x)


class Greedy(Layers):
    def forward(self, x):
        raise MemoryError


class GreedyLater(Layers):
    def forward(self, x):
        if len(x) > 4:
            torch.empty(2**50)
        return super().forward(x)


class Killed(Layers):
    def forward(self, x):
        os.kill(os.getpid(), 9)


class Sleeps(Layers):
    def forward(self, x):
        if len(x) > 4:
            time.sleep(600)
        return super().forward(x)


class RaisesLater(Layers):
    def forward(self, x):
        if len(x) > 4:
            raise ValueError("later")
        return super().forward(x)


class Explodes(Layers):
    def forward(self, x):
        return super().forward(x) * (1e30 if len(x) > 4 else 1) ** 2


def make():
    return Layers()


MODULE = Layers()
SPEC = NetworkSpec(channels=(4, 4))
FIVE = 5
