"""The parts of a network. Each block is an ordinary `nn.Sequential`."""

from collections import OrderedDict
from itertools import pairwise
from typing import Literal

from torch import nn

from mnist_blocks.spec import NUM_CLASSES, parse_recipe


def named_sequence(parts: list[tuple[str, nn.Module]]) -> nn.Sequential:
    """`nn.Sequential` with named parts, so that weights have readable names."""
    return nn.Sequential(OrderedDict(parts))


def conv_block(
    recipe: str, in_channels: int, out_channels: int, *, bias: bool = True, stride: int = 1
) -> nn.Sequential:
    """A 3x3 convolution and the steps around it, in the order of the recipe.

    `"conv-bn-relu"` is the order of Ioffe and Szegedy (2015, arXiv:1502.03167, section 3.2).

    Shapes: (batch, in_channels, H, W) -> (batch, out_channels, H / stride, W / stride).

    Raises:
        ValueError: the recipe has an unknown or repeated step, or no convolution.
    """
    parts: list[tuple[str, nn.Module]] = []
    channels = in_channels
    for step in parse_recipe(recipe):
        if step == "conv":
            # Padding 1 keeps the size of the image, so blocks can be stacked freely.
            conv = nn.Conv2d(
                in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=bias
            )
            parts.append(("conv", conv))
            channels = out_channels
        elif step == "bn":
            parts.append(("bn", nn.BatchNorm2d(channels)))
        elif step == "relu":
            parts.append(("relu", nn.ReLU()))
    return named_sequence(parts)


def dropout(probability: float) -> list[tuple[str, nn.Module]]:
    """Dropout of single activations (Srivastava et al., JMLR 15, 2014), or no layer if it is 0.

    So the layer table of a network without dropout does not list it.
    """
    return [("dropout", nn.Dropout(probability))] if probability > 0 else []


def stage(
    recipe: str,
    in_channels: int,
    out_channels: int,
    *,
    num_blocks: int,
    bias: bool,
    downsample: Literal["maxpool", "stride", "none"],
    dropout_probability: float,
) -> nn.Sequential:
    """Blocks at one resolution, then downsampling to half of it, then dropout.

    With `downsample="none"` (the last stage) there is neither: the head has its own pooling and
    dropout. Shapes: (batch, in_channels, S, S) -> (batch, out_channels, S/2, S/2), or S.
    """
    parts: list[tuple[str, nn.Module]] = []
    for number in range(1, num_blocks + 1):
        is_last_block = number == num_blocks
        block = conv_block(
            recipe,
            in_channels if number == 1 else out_channels,
            out_channels,
            bias=bias,
            stride=2 if downsample == "stride" and is_last_block else 1,
        )
        parts.append((f"block{number}", block))
    if downsample == "maxpool":
        parts.append(("maxpool", nn.MaxPool2d(2)))
    if downsample != "none":
        parts += dropout(dropout_probability)
    return named_sequence(parts)


def global_average_pool() -> list[tuple[str, nn.Module]]:
    """Each channel's mean over the image (Lin et al., 2013, arXiv:1312.4400, section 3.2).

    Shapes: (batch, channels, H, W) -> (batch, channels). No parameters.
    """
    return [("gap", nn.AdaptiveAvgPool2d(1)), ("flatten", nn.Flatten())]


def fc_layers(in_features: int, hidden_features: tuple[int, ...]) -> list[tuple[str, nn.Module]]:
    """Linear layers to the ten classes, with no activation between them.

    Shapes: (batch, in_features) -> (batch, 10), the logits.
    """
    widths = (in_features, *hidden_features, NUM_CLASSES)
    return [
        (f"fc{number}", nn.Linear(before, after))
        for number, (before, after) in enumerate(pairwise(widths), start=1)
    ]
