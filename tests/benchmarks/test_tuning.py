"""The search for a recipe: no test image takes part, and every variant changes the training."""

from pathlib import Path
from typing import Self

import numpy as np
import pytest
from click.testing import CliRunner

from ablations.data.dataset import Dataset
from benchmarks import held_out, tuning
from benchmarks.held_out import Variant, train_held_out
from benchmarks.trials import best_recipes, read_trials

RECIPE = {"batch_size": 64, "learning_rate": 0.1, "warm_up": 0.2, "num_train_images": 640}


@pytest.fixture(autouse=True)
def few_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out, "NUM_HELD_OUT", 400)


def train_on_digits(variant: Variant, num_epochs: int = 2) -> float:
    return train_held_out("target", variant, num_epochs, 0, "digits", None)


def test_the_test_images_take_no_part(digits: Dataset) -> None:
    kept = held_out.hold_out(digits)
    assert kept.id.num_test == len(kept.test_labels) == 400
    images = np.concatenate([kept.train_images, kept.test_images])
    assert np.array_equal(images, digits.train_images)
    assert kept.id.name != digits.id.name


@pytest.mark.parametrize(
    "variant",
    [
        Variant({**RECIPE, "affine_strength": 0.8}),
        Variant({**RECIPE, "warm_up": None}),
        Variant(RECIPE, network={"dropout": 0.0}),
        Variant(RECIPE, label_smoothing=0.1),
        Variant(RECIPE, average_decay=0.9),
        Variant(RECIPE, num_plain_epochs=1),
        Variant(RECIPE, is_cosine=True),
    ],
)
def test_each_kind_of_variant_changes_what_is_learnt(
    variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = []
    score = held_out.loop.score_images
    monkeypatch.setattr(
        held_out.loop, "score_images", lambda *a: losses.append((found := score(*a)).loss) or found
    )
    for one in (Variant(RECIPE), variant):
        train_on_digits(one)
    assert losses[0] != losses[1]


def test_a_search_goes_on_and_a_comparison_keeps_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "resolve_dataset", lambda *_, **__: ("digits", None))
    monkeypatch.setattr(tuning, "train_held_out", fake_training)
    monkeypatch.setattr(tuning, "ProcessPoolExecutor", SamePool)
    options = ["--out", str(tmp_path), "--jobs", "1"]
    searching = ["search", *options, "--journal", str(tmp_path / "journal.log")]
    for num_trials in (3, 5):
        result = CliRunner().invoke(tuning.main, [*searching, "--trials", str(num_trials)])
        assert result.exit_code == 0, result.output
        trials = read_trials(tmp_path / "target.json")
        assert [trial.name for trial in trials] == [str(n) for n in range(num_trials)]
    assert trials[0].fields == tuning.STARTING_POINT
    assert len({str(trial.fields) for trial in trials}) == 5
    assert best_recipes(trials)[0].accuracy_pct == max(one.accuracy_pct for one in trials)
    result = CliRunner().invoke(
        tuning.main, ["compare", *options, "--best", "2", "--seeds", "1", "--out", str(tmp_path)]
    )
    assert result.exit_code == 0 and result.output.count("trial ") == 2, result.output
    (tmp_path / "variants.json").unlink()
    for names in (["no Nesterov"], ["no Nesterov", "label smoothing 0.1"]):
        result = CliRunner().invoke(tuning.main, ["compare", *options, "--seeds", "2", *names])
        assert result.exit_code == 0, result.output
    trials = read_trials(tmp_path / "variants.json")
    assert [trial.name for trial in trials] == ["no Nesterov", "label smoothing 0.1"]
    assert trials[0].accuracy_pct_by_seed.keys() == {1000, 1001}


def fake_training(network: str, variant: Variant, num_epochs: int, seed: int, *_: object) -> float:
    return 99 + variant.fields["learning_rate"] + seed / 1e6


class SamePool:
    """Runs each task at once, in this process."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def submit(self, function: object, *arguments: object) -> object:
        from concurrent.futures import Future

        done: Future[float] = Future()
        done.set_result(function(*arguments))  # type: ignore[operator]
        return done
