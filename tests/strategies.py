"""Hypothesis strategies for the project's own types."""

from hypothesis import strategies as st

from mnist_blocks import NetworkSpec


def network_specs() -> st.SearchStrategy[NetworkSpec]:
    """Any network that can be built, small enough to build quickly."""
    return st.builds(
        NetworkSpec,
        channels=st.lists(st.integers(1, 6), min_size=1, max_size=5).map(tuple),
        convs_per_stage=st.integers(1, 3),
        block=st.sampled_from(
            ["conv", "conv-relu", "conv-bn", "conv-bn-relu", "conv-relu-bn", "bn-relu-conv"]
        ),
        conv_bias=st.booleans(),
        downsample=st.sampled_from(["maxpool", "stride"]),
        dropout=st.sampled_from([0.0, 0.1, 0.9]),
        pooling=st.sampled_from(["gap", "flatten"]),
        head=st.sampled_from(["fc", "conv"]),
        hidden_features=st.lists(st.integers(1, 8), max_size=3).map(tuple),
    )
