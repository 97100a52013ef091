"""Labels of networks and blocks in the figures and tables about an ingredient."""

from ablations.analysis.mechanisms import ObservedPair, SignalProfile


def network_labels(pair: ObservedPair) -> tuple[str, str]:
    """The target and the ablation, as a legend names them."""
    return "target", f"without {pair.row.ablation.removes}"


def profile_label(profile: SignalProfile, pair: ObservedPair) -> str:
    """`target, before training`, as a legend names a line."""
    label = network_labels(pair)[0 if profile.is_target else 1]
    return f"{label}, {'before' if profile.is_before_training else 'after'} training"


def block_labels(pair: ObservedPair) -> list[str]:
    """Stage and block, such as `1.2`."""
    names = [signal.block for signal in pair.of_ablation[0].signals]
    return [name.replace("stage", "").replace(".block", ".") for name in names]
