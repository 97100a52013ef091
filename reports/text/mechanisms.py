"""What the figures and tables about an ingredient call networks, blocks and maps."""

from collections.abc import Sequence

import numpy as np

from ablations.analysis.mechanisms import ObservedPair, SignalProfile
from ablations.records.observations import Evidence


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


def evidence_words(label: str, evidence: Evidence, class_names: Sequence[str]) -> str:
    """A class activation map in words."""
    values = np.asarray(evidence.values)
    row, column = divmod(int(values.argmax()), values.shape[1])
    return (
        f"{label}: evidence for {class_names[evidence.class_index]}, strongest in row {row + 1}, column {column + 1} of "
        f"{len(values)}; {(values < 0).sum()} of {values.size} squares lower its score"
    )
