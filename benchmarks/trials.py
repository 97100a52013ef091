"""The trials of a search for a recipe, and the document about them, docs/tuning.md: see `tuning.py`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import msgspec
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from ablations.analysis.intervals import single_difference
from ablations.catalogue.designs import CORE
from ablations.catalogue.recipes import PUBLISHED, TUNED
from benchmarks.held_out import NUM_HELD_OUT
from reports.figures.svg import standalone_svg
from reports.text.templates import make_environment

UNCHANGED = "the recipe"
"""Name of the variant without a change."""
SPACE: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(0.005, 0.5, log=True),
    "batch_size": CategoricalDistribution((32, 64, 128)),
    "warm_up": FloatDistribution(0.0, 0.5, step=0.1),
    "weight_decay": FloatDistribution(1e-5, 3e-3, log=True),
    "affine_strength": FloatDistribution(0.2, 1.6, step=0.2),
}
"""One cycle of the learning rate with Nesterov momentum, and affine augmentation."""
SETTING_NAMES = {
    "learning_rate": "learning rate",
    "batch_size": "batch size",
    "warm_up": "warm-up",
    "weight_decay": "weight decay",
    "affine_strength": "strength of affine augmentation",
    "nesterov": "Nesterov momentum",
    "momentum": "momentum",
    "num_epochs": "epochs",
    "drop_learning_rate_after": "drop of the learning rate after",
}


class Trial(msgspec.Struct, frozen=True):
    """A recipe, and the accuracy on held-out images after its last epoch, for each seed."""

    network: str
    """Name in the catalogue."""
    name: str
    """Number of the trial, or name of the variant."""
    num_epochs: int
    fields: dict[str, Any]
    """Of `TrainingSpec`."""
    accuracy_pct_by_seed: dict[int, float]

    @property
    def accuracy_pct(self) -> float:
        """The mean over seeds."""
        return fmean(self.accuracy_pct_by_seed.values())

    @property
    def standard_deviation(self) -> float:
        """Over seeds."""
        return stdev(self.accuracy_pct_by_seed.values())


def read_trials(path: Path) -> list[Trial]:
    """The trials in a file."""
    return msgspec.json.decode(path.read_bytes(), type=list[Trial])


def best_recipes(trials: Sequence[Trial]) -> list[Trial]:
    """Different recipes, the best first; a recipe that was tried twice counts with its mean."""
    by_fields: dict[str, list[Trial]] = {}
    for trial in trials:
        by_fields.setdefault(str(trial.fields), []).append(trial)
    merged = [
        msgspec.structs.replace(
            same[0],
            accuracy_pct_by_seed={
                seed: value for one in same for seed, value in one.accuracy_pct_by_seed.items()
            },
        )
        for same in by_fields.values()
    ]
    return sorted(merged, key=lambda trial: -trial.accuracy_pct)


def render(folder: Path) -> dict[str, str]:
    """The document and its figure, by path; the same files give the same text."""
    from benchmarks.figures import search_figure

    searches = {
        name: read_trials(path)
        for name in ("target", *(entry.name for entry in CORE))
        if (path := folder / f"{name}.json").exists()
    }
    compared = read_trials(path) if (path := folder / "variants.json").exists() else []
    recipes = {
        (trial.network, trial.num_epochs): trial for trial in compared if trial.name == UNCHANGED
    }
    text = make_environment("benchmarks", is_html=False).get_template("tuning.md").render(
        num_held_out=NUM_HELD_OUT,
        settings=SETTING_NAMES,
        tuned=TUNED,
        published=PUBLISHED,
        space={SETTING_NAMES[name]: _range_words(found) for name, found in SPACE.items()},
        searches=[(name, trials, best_recipes(trials)) for name, trials in searches.items()],
        compared=[
            (
                trial,
                None
                if (recipe := recipes.get((trial.network, trial.num_epochs))) in (None, trial)
                else single_difference(trial.accuracy_pct_by_seed, recipe.accuracy_pct_by_seed),
            )
            for trial in compared
        ],
        words=_recipe_words,
    )  # fmt: skip
    trials = searches["target"]
    settings = {
        SETTING_NAMES[name]: ([one.fields[name] for one in trials], getattr(found, "log", False))
        for name, found in SPACE.items()
    }
    figure = search_figure(settings, [trial.accuracy_pct for trial in trials])
    return {"tuning.md": text, f"{folder.name}/search.svg": standalone_svg(figure)}


def _range_words(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return " or ".join(map(str, distribution.choices))
    assert isinstance(distribution, FloatDistribution)
    words = f"{distribution.low:g} to {distribution.high:g}"
    return f"{words} (logarithmic)" if distribution.log else words


def _recipe_words(fields: Mapping[str, Any]) -> str:
    return ", ".join(f"{SETTING_NAMES[name]} {fields[name]:.3g}" for name in SPACE)
