"""How courses word the exercise: which concepts a network must use (`--requirements`)."""

from collections.abc import Collection, Mapping

_FC, _NO_FC, _GAP = "a fully connected layer", "no fully connected layer", "global average pooling"
_BOTH = (("batch normalisation",), ("dropout",))

WORDINGS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "fc-and-gap": (*_BOTH, (_FC,), (_GAP,)),
    "fc-or-gap": (*_BOTH, (_FC, _GAP)),
    "no-fc": (*_BOTH, (_GAP,), (_NO_FC,)),
}
"""Of each group of concepts, one is required. The first wording is this project's."""


def wanted_concepts(wording: str) -> str:
    """The required concepts, and the wording's name."""
    return f"{', '.join(map(' or '.join, WORDINGS[wording]))} (--requirements {wording})"


def unmet_concepts(used: Collection[str], wording: str) -> list[str]:
    """What a network with these concepts lacks."""
    found = {*used} if _FC in used else {*used, _NO_FC}
    return [" or ".join(group) for group in WORDINGS[wording] if not found & {*group}]
