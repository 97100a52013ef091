"""The spec of a network: one flat, frozen, validated dataclass."""

from dataclasses import dataclass
from typing import Literal

IMAGE_SIZE = 28
NUM_CLASSES = 10
BLOCK_STEPS = ("conv", "bn", "relu")


@dataclass(frozen=True)
class NetworkSpec:
    """A small convolutional classifier for 28x28 grey images in ten classes.

    The defaults are the target network with 18,962 parameters. An ablation changes a field or two:
    `dataclasses.replace(TARGET, block="conv-relu")` has no batch norm.

    Raises:
        ValueError: a field's value is invalid; the message names the field, the value and the fix.
    """

    channels: tuple[int, ...] = (8, 16, 32)
    """Output channels of each stage. Every stage but the last halves the image's side."""

    convs_per_stage: int = 2
    """Blocks, and so 3x3 convolutions, in each stage."""

    block: str = "conv-bn-relu"
    """The recipe of a block: its steps in order, joined by hyphens."""

    conv_bias: bool = True
    """Whether the 3x3 convolutions add a bias to each channel."""

    downsample: Literal["maxpool", "stride"] = "maxpool"
    """How a stage halves the image: 2x2 max pooling, or stride 2 in its last convolution."""

    dropout: float = 0.1
    """Probability that an activation is set to zero, after each stage and before the head."""

    pooling: Literal["gap", "flatten"] = "gap"
    """From feature maps to a vector: global average pooling (one number a channel), or every
    pixel of every channel."""

    head: Literal["fc", "conv"] = "fc"
    """The classifier: fully connected layers on the pooled vector, or a single map to the ten
    classes applied to the feature maps (a 1x1 convolution, averaged over the image)."""

    hidden_features: tuple[int, ...] = (16,)
    """Widths of the linear layers before the last one, with no activation between them."""

    def __post_init__(self) -> None:
        parse_recipe(self.block)
        check_fields(
            self,
            channels=(
                1 <= len(self.channels) <= 5 and min(self.channels) >= 1,
                "a positive number for each stage, at most five: an image can be halved four times",
            ),
            convs_per_stage=(self.convs_per_stage >= 1, "at least 1"),
            downsample=(self.downsample in ("maxpool", "stride"), "'maxpool' or 'stride'"),
            dropout=(0 <= self.dropout < 1, "a probability in [0, 1)"),
            pooling=(self.pooling in ("gap", "flatten"), "'gap' or 'flatten'"),
            head=(self.head in ("fc", "conv"), "'fc' or 'conv'"),
            hidden_features=(all(width >= 1 for width in self.hidden_features), "positive widths"),
        )

    @property
    def feature_size(self) -> int:
        """Side, in pixels, of the last stage's feature maps."""
        size = IMAGE_SIZE
        for _ in self.channels[1:]:
            # A stride-2 convolution with padding 1 rounds up, 2x2 pooling rounds down.
            size = (size + 1) // 2 if self.downsample == "stride" else size // 2
        return size


def check_fields(spec: object, **needs: tuple[bool, str]) -> None:
    """Raise ValueError for the first field that is not valid: whether it is, and what it needs."""
    for name, (is_valid, need) in needs.items():
        if not is_valid:
            raise ValueError(f"{name}={getattr(spec, name)!r}: needs {need}")


def parse_recipe(recipe: str) -> tuple[str, ...]:
    """Split a block recipe such as `"conv-bn-relu"` into its steps.

    Raises:
        ValueError: a step is unknown or repeated, or there is no convolution.
    """
    steps = tuple(recipe.split("-"))
    for step in steps:
        if step not in BLOCK_STEPS:
            raise ValueError(
                f"block={recipe!r}: unknown step {step!r}; a recipe joins "
                f"{', '.join(BLOCK_STEPS)} with hyphens"
            )
    if len(set(steps)) != len(steps):
        raise ValueError(f"block={recipe!r}: each step may occur once")
    if "conv" not in steps:
        raise ValueError(f"block={recipe!r}: a block needs a 'conv' step")
    return steps


def common_steps(one: str, other: str) -> str:
    """The recipe of the steps that both recipes have, in the order of the first."""
    return "-".join(step for step in parse_recipe(one) if step in parse_recipe(other))


TARGET = NetworkSpec()
"""The target network: 18,962 parameters, and every concept that the assignment asks for."""
