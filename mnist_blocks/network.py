"""Builds a network from its spec."""

from torch import nn

from mnist_blocks.blocks import dropout, fc_layers, global_average_pool, named_sequence, stage
from mnist_blocks.spec import NUM_CLASSES, NetworkSpec


def build_network(spec: NetworkSpec) -> nn.Sequential:
    """Stages of convolution blocks, then a head that turns feature maps into ten logits.

    Shapes: images (batch, 1, 28, 28) -> logits (batch, 10). The logits are not normalised: the
    loss (`cross_entropy`) takes their log-softmax.

    `build_network(TARGET)` has exactly 18,962 parameters.
    """
    parts: list[tuple[str, nn.Module]] = []
    in_channels = 1
    for number, out_channels in enumerate(spec.channels, start=1):
        is_last_stage = number == len(spec.channels)
        part = stage(
            spec.block,
            in_channels,
            out_channels,
            num_blocks=spec.convs_per_stage,
            bias=spec.conv_bias,
            downsample="none" if is_last_stage else spec.downsample,
            dropout_probability=spec.dropout,
        )
        parts.append((f"stage{number}", part))
        in_channels = out_channels
    parts.append(("head", _build_head(spec)))
    return named_sequence(parts)


def _build_head(spec: NetworkSpec) -> nn.Sequential:
    """The part between the last feature maps and the logits: pooling, dropout, classifier.

    The two choices can be combined freely:

    ========== ============================== ===========================================
    pooling    head "fc"                      head "conv"
    ========== ============================== ===========================================
    "gap"      average, then linear layers    1x1 convolution to 10 channels, then average
    "flatten"  flatten, then linear layers    flatten, then one linear map to the classes
    ========== ============================== ===========================================
    """
    channels, dropped = spec.channels[-1], dropout(spec.dropout)
    if spec.pooling == "gap" and spec.head == "conv":
        to_classes = nn.Conv2d(channels, NUM_CLASSES, kernel_size=1)
        return named_sequence([*dropped, ("conv", to_classes), *global_average_pool()])
    pooling, num_features = global_average_pool(), channels
    if spec.pooling == "flatten":
        pooling, num_features = [("flatten", nn.Flatten())], channels * spec.feature_size**2
    hidden_features = spec.hidden_features if spec.head == "fc" else ()
    return named_sequence([*pooling, *dropped, *fc_layers(num_features, hidden_features)])
