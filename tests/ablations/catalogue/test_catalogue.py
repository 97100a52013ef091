"""The contract of the catalogue's entries, new ones included; presets of a study's length."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from ablations.catalogue.ablation import Ablation, spec_changes
from ablations.catalogue.entries import CATALOGUE, entries_under
from ablations.catalogue.experiment import DatasetId, RunSpec
from ablations.catalogue.presets import choose_preset
from ablations.catalogue.recipes import PUBLISHED, RECIPES, TUNED, RecipeName
from ablations.data.dataset import Dataset
from ablations.training.batches import load_images
from ablations.training.loop import prepare_training, train_epoch
from mnist_blocks import TARGET
from mnist_blocks.network import build_network
from mnist_blocks.summary import count_parameters, layer_table
from tests.factories import DIGITS, MNIST

every_ablation = pytest.mark.parametrize("ablation", CATALOGUE, ids=lambda entry: entry.name)
every_definition = pytest.mark.parametrize(
    ("ablation", "recipe"),
    [(ablation, recipe) for ablation in CATALOGUE for recipe in ablation.recipes],
    ids=lambda value: getattr(value, "name", value),
)


def test_the_target_is_first_and_names_are_unique() -> None:
    assert CATALOGUE[0].name == CATALOGUE[0].kind == "target"
    assert len({ablation.name for ablation in CATALOGUE}) == len(CATALOGUE)


@every_ablation
def test_entry_has_all_texts(ablation: Ablation) -> None:
    for field in ("name", "removes", "question", "expectation", "source"):
        assert getattr(ablation, field) == getattr(ablation, field).strip() != ""
    assert ablation.question.endswith("?")
    assert ablation.expectation.endswith(".")


@every_definition
def test_entry_has_one_kind_of_change(ablation: Ablation, recipe: RecipeName) -> None:
    training = {**ablation.training, **ablation.training_under.get(recipe, {})}
    changes = spec_changes(ablation.network_spec, ablation.training_spec(recipe), RECIPES[recipe])
    changed, named = {change.field for change in changes}, {*ablation.network, *training}
    if ablation.retunes:
        assert changed <= named and not changed <= {*ablation.network}
        return
    assert changed == named
    assert not (ablation.network and training)


def test_each_recipe_has_its_entries() -> None:
    tuned, published = (
        {entry.name for entry in entries_under(recipe)} for recipe in ("tuned", "published")
    )
    assert published < tuned
    assert tuned - published == {"no-warm-up", "no-weight-decay", "no-nesterov"}
    retuned = entries_under("tuned", with_retuned=True)[len(tuned) :]
    assert {entry.name.removesuffix("-retuned") for entry in retuned} == {
        entry.name for entry in CATALOGUE if entry.retuned
    }
    with pytest.raises(KeyError):
        next(entry for entry in CATALOGUE if entry.name == "no-warm-up").training_spec("published")


def test_recipes_fit_the_exercise() -> None:
    assert TUNED.num_epochs < 20
    assert (PUBLISHED.learning_rate, PUBLISHED.num_epochs) == (0.01, 20)
    rates = TUNED.learning_rates(1, 100) + TUNED.learning_rates(TUNED.num_epochs, 100)
    assert max(rates[0], rates[-1]) < 0.01 * TUNED.learning_rate


@every_ablation
def test_only_the_changed_layers_differ_from_the_targets(ablation: Ablation) -> None:
    # From what was built: the kinds of layers that are added, removed or resized.
    target, variant = (
        Counter(
            row.description
            for row in layer_table(spec)
            if row.parameters or "dropout" in row.description
        )
        for spec in (TARGET, ablation.network_spec)
    )
    touched = {description.split()[0] for description in (target - variant) + (variant - target)}
    allowed = {
        "block": {"batch"},
        "dropout": {"dropout"},
        "pooling": {"linear"},
        "channels": {"conv", "batch", "linear"},
        "head": {"conv", "linear"},
        "hidden_features": {"linear"},
        "downsample": {"conv"},
        "convs_per_stage": {"conv", "batch"},
        "conv_bias": {"conv"},
    }
    assert touched <= set().union(*(allowed[field] for field in ablation.network))


@every_definition
def test_entry_trains_one_step(ablation: Ablation, recipe: RecipeName, digits: Dataset) -> None:
    training = replace(ablation.training_spec(recipe), num_epochs=1, num_train_images=128)
    run_spec = RunSpec(ablation.name, ablation.network_spec, training, digits.id, seed=0)
    cpu = torch.device("cpu")
    images, _ = load_images(digits, run_spec.training, cpu)
    trainee = prepare_training(run_spec, digits, cpu)
    before = {name: value.clone() for name, value in trainee.network.named_parameters()}
    loss, num_correct = train_epoch(trainee, images, epoch=1)
    assert 1.5 < loss < 4.5
    assert 0 <= num_correct <= 128
    unmoved = [
        name
        for name, value in trainee.network.named_parameters()
        if torch.equal(value, before[name])
    ]
    # The gradient of a bias before batch norm is rounding errors; everything else must move.
    assert all(name.endswith("conv.bias") for name in unmoved)


def test_parameter_counts_in_the_texts() -> None:
    counts = {
        ablation.name: count_parameters(build_network(ablation.network_spec))
        for ablation in CATALOGUE
    }
    assert abs(counts["no-gap-matched"] / counts["target"] - 1) < 0.05
    assert counts["no-gap"] > 2 * counts["target"]
    assert counts["target"] - counts["no-conv-bias"] == 112
    assert counts["relu-before-batchnorm"] == counts["target"]


def entry(**changes: object) -> Ablation:
    texts = dict.fromkeys(("removes", "question", "expectation", "source"), "x")
    return Ablation(**{"name": "new", **texts, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": {"batchnorm": False}}, "'new'.*batchnorm"),
        ({"training": {"num_epoch": 3}}, "'new'.*num_epoch"),
        ({"network": {"block": "conv-bn-rellu"}}, "'new'.*rellu"),
        ({}, "changes nothing"),
        ({"name": "a/b", "network": {"dropout": 0.2}}, "a name is also a folder"),
        ({"network": {"dropout": 0.1}}, "changes nothing"),
    ],
)
def test_invalid_entry_is_an_error(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        entry(**changes)


@pytest.mark.parametrize(
    ("name", "recipe", "dataset", "num_images", "num_epochs"),
    [
        ("full", "published", MNIST, None, 20),
        ("full", "tuned", MNIST, None, 19),
        ("quick", "tuned", MNIST, 9000, 3),
        ("quick", "published", DIGITS, None, 20),
    ],
)
def test_presets(
    name: str, recipe: RecipeName, dataset: DatasetId, num_images: int | None, num_epochs: int
) -> None:
    preset = choose_preset(name, dataset, recipe)
    assert (preset.num_train_images, preset.num_epochs) == (num_images, num_epochs)
