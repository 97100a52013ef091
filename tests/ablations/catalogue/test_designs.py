"""Study designs, and several ablations at once."""

from itertools import combinations

import pytest

from ablations.catalogue.ablation import Ablation, combine
from ablations.catalogue.designs import CORE, DESIGNS, Design, design_ablations, names_of
from ablations.catalogue.entries import CATALOGUE, combine_entries, find_ablation
from mnist_blocks import NetworkSpec
from mnist_blocks.summary import layer_table


def names(design: Design, *entries: str) -> list[str]:
    return [found.name for found in design_ablations(design, [find_ablation(e) for e in entries])]


@pytest.mark.parametrize(
    ("design", "entries", "expected"),
    [
        ("leave-one-out", "no-gap no-batchnorm", "no-batchnorm no-gap"),
        ("leave-one-out", "no-gap+no-dropout no-gap", "no-gap no-dropout+no-gap"),
        ("add-one-in", "no-batchnorm no-dropout no-gap",
         "no-batchnorm+no-dropout+no-gap no-batchnorm+no-dropout no-batchnorm+no-gap no-dropout+no-gap"),
        # From the bare network to the whole one, in the order of the catalogue.
        ("ladder", "no-gap no-batchnorm no-dropout",
         "no-batchnorm+no-dropout+no-gap no-dropout+no-gap no-gap"),
    ],
)  # fmt: skip
def test_networks_of_a_design(design: Design, entries: str, expected: str) -> None:
    assert names(design, *entries.split()) == ["target", *expected.split()]


def test_leave_one_out_of_everything_is_the_catalogue() -> None:
    assert design_ablations("leave-one-out", CATALOGUE) == list(CATALOGUE)


def test_factorial_has_every_combination_once() -> None:
    found = design_ablations("factorial", CORE)
    assert len(CORE) == 4
    assert [names_of(ablation) for ablation in found] == [
        tuple(entry.name for entry in subset)
        for size in range(5)
        for subset in combinations(CORE, size)
    ]
    assert len({tuple(layer_table(ablation.network_spec)) for ablation in found}) == 16


@pytest.mark.parametrize("design", DESIGNS[1:])
@pytest.mark.parametrize("entries", [[], ["target"], ["no-gap"]])
def test_too_few_to_combine(design: Design, entries: list[str]) -> None:
    with pytest.raises(ValueError, match="at least two ablations"):
        names(design, *entries)


def test_combinations_have_one_name_whatever_the_order() -> None:
    one = find_ablation("no-batchnorm+no-gap")
    other = find_ablation("no-gap+no-batchnorm+no-gap")
    assert one == other
    assert one.name == "no-batchnorm+no-gap"
    assert one.parts == ("no-batchnorm", "no-gap")
    assert combine_entries([]).name == "target"
    assert combine_entries(["no-gap"]) is find_ablation("no-gap")
    with pytest.raises(KeyError):
        find_ablation("no-gap+no-nothing")


def test_recipes_lose_what_either_removes() -> None:
    assert find_ablation("no-batchnorm+no-relu").network_spec.block == "conv"
    other = find_ablation("no-relu+no-conv-bias").network_spec
    assert other == NetworkSpec(block="conv-bn", conv_bias=False)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no-batchnorm+relu-before-batchnorm", "relu-before-batchnorm changes nothing"),
        ("no-fc-head+single-fc", "single-fc changes nothing where there is no-fc-head"),
    ],
)
def test_combinations_with_a_redundant_part_are_an_error(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_ablation(name)


def test_contradictory_combinations_are_an_error() -> None:
    def entry(name: str, dropout: float) -> Ablation:
        return Ablation(name, "x", "x?", "x.", "x.", network={"dropout": dropout})

    with pytest.raises(ValueError, match=r"a\+b is not possible: dropout would be 0.2 and 0.3"):
        combine([entry("a", 0.2), entry("b", 0.3)])
