"""How a study was made, in words and rows: what a reader needs to repeat it or to question it."""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from ablations.analysis.summary import AblationResult, Results, unknown_ablations
from ablations.catalogue.designs import design_ablations
from ablations.catalogue.entries import CATALOGUE, find_ablation
from ablations.catalogue.experiment import TARGET_TRAINING, TrainingSpec
from ablations.catalogue.presets import QUICK
from ablations.records.run import Environment
from ablations.records.study import Study
from ablations.records.study_spec import StudySpec
from ablations.training.augmentation import MAX_ROTATION_DEGREES, ZOOM_CROP_PIXELS, ZOOM_PROBABILITY
from ablations.words import plural
from mnist_blocks.spec import IMAGE_SIZE
from reports.text.wording import MINUS, enumerate_words


def target_training(spec: StudySpec) -> TrainingSpec:
    """The target's recipe at the length of a study."""
    return replace(
        TARGET_TRAINING, num_epochs=spec.num_epochs, num_train_images=spec.num_train_images
    )


def seed_groups(rows: Sequence[AblationResult]) -> list[tuple[tuple[int, ...], list[str]]]:
    """Seeds, and the ablations that were run with exactly these; most seeds first."""
    names_by_seeds: dict[tuple[int, ...], list[str]] = {}
    for row in rows:
        seeds = tuple(run.run_spec.seed for run in row.runs)
        names_by_seeds.setdefault(seeds, []).append(row.ablation.name)
    return sorted(names_by_seeds.items(), key=lambda group: -len(group[0]))


def reproduce_commands(results: Results) -> list[str]:
    """The commands that repeat the runs, one for each group of seeds.

    Every command runs the target, so it is named only where it is alone.
    """
    spec = results.study.spec
    options = (
        f"--dataset {spec.dataset.name} --epochs {spec.num_epochs} --device {spec.device_type} "
        f"--arithmetic {spec.arithmetic} --margin {spec.margin_pct:g}"
    )
    # The command line has no option for the number of images: it comes with this preset.
    if spec.num_train_images == QUICK.num_train_images:
        options = f"--preset {QUICK.name} {options}"
    groups = [
        (_names_argument(names), seeds)
        for seeds, names in seed_groups(results.rows)
        if names != ["target"] or len(results.rows) == 1
    ]
    groups += [
        (_combinations_argument(names), seeds) for seeds, names in seed_groups(results.combinations)
    ]
    return [
        f"python cli.py ablate {names} {options} --seeds {','.join(map(str, seeds))}"
        for names, seeds in groups
    ]


def _names_argument(names: Sequence[str]) -> str:
    """The names of a command; `--all` for the whole catalogue."""
    if set(names) >= {ablation.name for ablation in CATALOGUE}:
        return "--all"
    return " ".join(name for name in names if name != "target" or len(names) == 1)


def _combinations_argument(names: Sequence[str]) -> str:
    """The names of combinations; those of a complete factorial by its design."""
    entries = list(dict.fromkeys(part for name in names for part in name.split("+")))
    # Combinations that are possible in pairs need not be possible all together.
    with suppress(ValueError):
        design = design_ablations("factorial", [find_ablation(entry) for entry in entries])
        if {ablation.name for ablation in design if ablation.parts} == set(names):
            return f"--design factorial {' '.join(entries)}"
    return " ".join(names)


def introduction(results: Results) -> str:
    """The target and its training in a sentence; empty where it has no run."""
    if results.target is None:
        return ""
    network = results.target.runs[0].run_spec.network
    num_blocks = len(network.channels) * network.convs_per_stage
    return (
        f"The network: {plural(num_blocks, 'convolutional block')} in {plural(len(network.channels), 'stage')} and "
        f"{results.target.parameters:,} parameters, trained from scratch by gradient descent with momentum, for "
        f"{_length(results.study.spec)}, zoomed and rotated at random."
    )


def recipe(results: Results) -> list[tuple[str, str]]:
    """How the target is trained in this study: label and value."""
    training = target_training(results.study.spec)
    num_images = training.num_train_images or results.study.spec.dataset.num_train
    num_batches = math.ceil(num_images / training.batch_size)
    rates = [training.learning_rate_at(epoch) for epoch in range(1, training.num_epochs + 1)]
    num_first = rates.count(rates[0])
    if num_first == len(rates):
        learning_rates = f"{rates[0]:g} throughout"
    else:
        learning_rates = f"{rates[0]:g} to the end of epoch {num_first}, then {rates[-1]:g}"
    augmentation = (
        f"with probability {ZOOM_PROBABILITY:g} the central {ZOOM_CROP_PIXELS}×{ZOOM_CROP_PIXELS} pixels resized to "
        f"{IMAGE_SIZE}×{IMAGE_SIZE}; then a rotation drawn uniformly from {MINUS}{MAX_ROTATION_DEGREES:g} to "
        f"+{MAX_ROTATION_DEGREES:g} degrees, filled with black"
    )
    return [
        ("length", _length(results.study.spec)),
        ("batches", f"{training.batch_size} images; {num_batches:,} batches an epoch"),
        ("optimiser", f"gradient descent with momentum {training.momentum:g}, no weight decay"),
        ("learning rate", learning_rates),
        ("loss", "cross entropy"),
        ("augmentation", augmentation),
        ("input", "normalised to about zero mean and unit variance"),
    ]


def _length(spec: StudySpec) -> str:
    """The length of a training: `20 epochs of 60,000 images`."""
    num_images = spec.num_train_images or spec.dataset.num_train
    return f"{plural(spec.num_epochs, 'epoch')} of {num_images:,} images"


def differing_fields(found: Sequence[tuple[Environment, int]]) -> str:
    """In what the environments of one study differ, in words."""
    rows = zip(*(environment_rows(environment) for environment, _ in found), strict=True)
    return enumerate_words(row[0][0] for row in rows if len(set(row)) > 1)


def environment_rows(environment: Environment) -> list[tuple[str, str]]:
    """An environment as label and value."""
    return [
        ("device", f"{environment.device_name} ({environment.device_type})"),
        ("threads a run", str(environment.num_threads)),
        ("arithmetic", environment.arithmetic),
        ("operating system", environment.operating_system),
        ("Python", environment.python_version),
        ("PyTorch", environment.torch_version),
        ("NumPy", environment.numpy_version),
        ("Numba", environment.numba_version or "–"),
        ("project version", environment.project_version),
        ("commit", environment.commit),
    ]


def left_out(study: Study) -> list[str]:
    """Records that no number of the page includes, and why."""
    unknown = [
        f"runs of '{name}': the catalogue has no such entry" for name in unknown_ablations(study)
    ]
    return [*study.problems, *unknown]
