"""An ablation, and the combination of several."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, NamedTuple

from ablations.catalogue.experiment import TrainingSpec
from ablations.catalogue.recipes import RECIPES, RecipeName
from mnist_blocks import TARGET, NetworkSpec
from mnist_blocks.spec import common_steps


class Change(NamedTuple):
    """A field of a spec that differs from the target's."""

    field: str
    target_value: object
    value: object


@dataclass(frozen=True)
class Ablation:
    """One variant of the target: what it changes, the question that it answers, and what to expect.

    Raises:
        ValueError: the entry misspells a field, changes nothing, or specifies an invalid network.
    """

    name: str
    removes: str
    """What is removed or changed, in a few words that fit under a figure."""
    question: str
    expectation: str
    """What to expect, and why."""
    source: str
    is_core: bool = False
    """Whether the ingredient is one of the four concepts that the assignment asks for."""
    network: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    training_under: Mapping[RecipeName, Mapping[str, Any]] = field(default_factory=dict)
    """Further changes that depend on the recipe. If not empty, the entry exists under these recipes
    only."""
    control: Literal["negative", "positive"] | None = None
    """`negative`: known to change nothing; `positive`: known to hurt."""
    retuned: Mapping[str, Any] = field(default_factory=dict)
    """The changes of the tuned recipe that the same search found for the network without this
    ingredient (see docs/tuning.md)."""
    retunes: str = ""
    """The entry that this one repeats with a recipe of its own."""
    parts: tuple[str, ...] = ()
    """For a combination, the names of its entries."""

    def __post_init__(self) -> None:
        is_name = re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.name)
        if not is_name and not self.parts:
            raise ValueError(
                f"catalogue entry {self.name!r}: a name is also a folder: use lower-case letters, "
                "digits and single hyphens"
            )
        try:
            changes_nothing = self.network_spec == TARGET and any(
                self.training_spec(recipe) == RECIPES[recipe] for recipe in self.recipes
            )
        except (TypeError, ValueError) as error:
            raise ValueError(f"catalogue entry {self.name!r}: {error}") from error
        if changes_nothing and self.name != "target":
            raise ValueError(f"catalogue entry {self.name!r} changes nothing on the target")

    @property
    def kind(self) -> Literal["target", "network", "training"]:
        """What the entry changes."""
        if self.network:
            return "network"
        return "training" if self.training or self.training_under else "target"

    @property
    def network_spec(self) -> NetworkSpec:
        """The target's network with this entry's changes."""
        return replace(TARGET, **self.network)

    @property
    def recipes(self) -> tuple[RecipeName, ...]:
        """The recipes under which the entry is defined."""
        return tuple(self.training_under or RECIPES)

    def training_spec(self, recipe: RecipeName) -> TrainingSpec:
        """A recipe with this entry's changes; KeyError where the entry is not defined under it."""
        changes = self.training_under[recipe] if self.training_under else {}
        return replace(RECIPES[recipe], **self.training, **changes)


def spec_changes(
    network: NetworkSpec, training: TrainingSpec, target_training: TrainingSpec
) -> list[Change]:
    """The fields in which a network and its recipe differ from the target's, network first."""
    pairs: list[tuple[Any, Any]] = [(TARGET, network), (target_training, training)]
    return [
        Change(field.name, before, after)
        for target, variant in pairs
        for field in fields(target)
        if (before := getattr(target, field.name)) != (after := getattr(variant, field.name))
    ]


def retune(ablation: Ablation) -> Ablation:
    """The ablation with the recipe that was searched for it, in place of the target's."""
    return replace(
        ablation,
        name=f"{ablation.name}-retuned",
        removes=f"{ablation.removes}, with its own recipe",
        question=(
            f"What does {ablation.removes} add, if the network without it has the recipe that "
            "suits it best?"
        ),
        expectation=(
            "A smaller loss than at the target's settings, which were tuned with the ingredient."
        ),
        source="The search in docs/tuning.md.",
        is_core=False,
        training_under={"tuned": ablation.retuned},
        retuned={},
        retunes=ablation.name,
        control=None,
    )


def combine(ablations: Sequence[Ablation]) -> Ablation:
    """Several ablations as one. If two change the block's recipe, the steps that both have remain.

    Raises:
        ValueError: two of them give a field different values; or one of them changes nothing given
            the others, such as the order of batch norm without batch norm.
    """
    if len(ablations) == 1:
        return ablations[0]
    combined = _join(ablations)
    for ablation in ablations:
        rest = [other for other in ablations if other is not ablation]
        without = _join(rest)
        if any(
            combined.training_spec(recipe) != without.training_spec(recipe)
            for recipe in combined.recipes
        ):
            continue
        from mnist_blocks.summary import layer_table  # It imports torch, which takes seconds.

        # Equal for specs that differ only in parts that the network lacks.
        if layer_table(combined.network_spec) == layer_table(without.network_spec):
            names = " and ".join(other.name for other in rest)
            raise ValueError(f"{ablation.name} changes nothing where there is {names} already")
    return combined


def _join(ablations: Sequence[Ablation]) -> Ablation:
    """All changes of the ablations; raises ValueError if two of them contradict each other."""
    parts = tuple(ablation.name for ablation in ablations)
    removed = [ablation.removes for ablation in ablations]
    name = "+".join(parts)
    return Ablation(
        name=name,
        removes=" and ".join(filter(None, [", ".join(removed[:-1]), removed[-1]])),
        question="How well does the network do without all of these at once?",
        expectation="The loss may be larger or smaller than the sum of the single losses.",
        source="That of each entry.",
        network=_merge_changes([ablation.network for ablation in ablations], name),
        training=_merge_changes([ablation.training for ablation in ablations], name),
        training_under=_merge_by_recipe(ablations, name),
        parts=parts,
    )


def _merge_by_recipe(ablations: Sequence[Ablation], name: str) -> dict[RecipeName, dict[str, Any]]:
    """The changes that depend on the recipe, under those recipes that all ablations have."""
    dependent = [one.training_under for one in ablations if one.training_under]
    shared = [recipe for recipe in RECIPES if all(recipe in one for one in dependent)]
    if not shared:
        raise ValueError(f"{name} is not possible: no recipe has all of them")
    if not dependent:
        return {}
    return {recipe: _merge_changes([one[recipe] for one in dependent], name) for recipe in shared}


def _merge_changes(changes: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for change in changes:
        for field_name, value in change.items():
            known = merged.setdefault(field_name, value)
            if field_name == "block":
                merged[field_name] = common_steps(known, value)
            elif known != value:
                raise ValueError(
                    f"{name} is not possible: {field_name} would be {known!r} and {value!r}"
                )
    return merged
