"""Makes what a report shows beside numbers, from a study's weights and the data set."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import torch
from safetensors.torch import load
from torch import nn

from ablations.data.dataset import Dataset
from ablations.data.datasets import DataError, load_dataset, resolve_dataset
from ablations.inspection.gallery import (
    GALLERY_FILE,
    NUM_SHOWN,
    Gallery,
    ImageAnswer,
    ShownImage,
    VariantImages,
    differing_images,
    load_gallery,
    shown_runs,
    weights_digests,
)
from ablations.inspection.load import record_folder, unobserved_runs
from ablations.inspection.measure import input_scale, observe, sample_images
from ablations.records.atomic_io import RecordError, write_atomically
from ablations.records.checksums import sealed
from ablations.records.run import (
    OBSERVATIONS_FILE,
    WEIGHTS_FILE,
    RunRecord,
    load_predictions,
    load_weights,
)
from ablations.records.study import Study
from ablations.training.batches import prepare_pixels
from mnist_blocks.network import build_network


def make_exhibits(study_dir: Path, study: Study, dataset: Dataset) -> list[str]:
    """Write the observations and the gallery that are missing or of other networks.

    Returns what could not be made, and why, such as for a run whose weights were changed.

    Raises:
        ValueError: the data set is not the study's.
    """
    if dataset.id != study.spec.dataset:
        raise ValueError(f"study of {study.spec.dataset}, but the data set is {dataset.id}")
    problems = []
    for record in unobserved_runs(study_dir, study):
        try:
            observe_run(record_folder(study_dir, record), record, dataset)
        except (RecordError, RuntimeError) as error:
            problems.append(str(error))
    runs = shown_runs(study, study_dir)
    with contextlib.suppress(RecordError):  # A damaged gallery is made anew.
        if not runs or load_gallery(study_dir, runs):
            return problems
    gallery, not_shown = make_gallery(study_dir, runs, dataset)
    if gallery:
        write_atomically(study_dir / GALLERY_FILE, sealed(msgspec.json.encode(gallery)))
    return [*problems, *not_shown]


def complete_exhibits(
    study_dir: Path, study: Study, data_dir: Path | None, say: Callable[[str], None]
) -> None:
    """`make_exhibits` where the data set can be found; says so where it cannot, or fails."""
    try:
        name, folder = resolve_dataset(
            study.spec.dataset.name, data_dir, fetch=False, log=lambda line: None
        )
        say("Looking at the networks, for what the page shows of them ...")
        problems = make_exhibits(study_dir, study, load_dataset(name, folder))
    except (DataError, ValueError) as error:
        problems = [str(error)]
    for problem in dict.fromkeys(problems):
        say(f"The page shows less of the networks: {problem}")


def observe_run(run_dir: Path, record: RunRecord, dataset: Dataset) -> None:
    """Look at the network of a run that was made without, and write what is seen."""
    observations = observe(
        record.run_spec,
        load_network(run_dir, record),
        dataset,
        load_predictions(run_dir, record).predicted_class,
        record.file_sha256[WEIGHTS_FILE],
        torch.device("cpu"),
    )
    write_atomically(run_dir / OBSERVATIONS_FILE, sealed(msgspec.json.encode(observations)))


def load_network(run_dir: Path, record: RunRecord) -> nn.Sequential:
    """A run's trained network, ready to classify.

    Raises:
        RecordError: the weights are missing or are not those that were recorded.
    """
    network = build_network(record.run_spec.network)
    network.load_state_dict(load(load_weights(run_dir, record)))
    return network.eval()


def make_gallery(
    study_dir: Path, runs: dict[str, RunRecord], dataset: Dataset
) -> tuple[Gallery | None, list[str]]:
    """The images on which each variant and the target differ, and what both say of them.

    Also returns why a variant has none; there is no gallery without the target.
    """
    samples = sample_images(dataset.test_labels)
    networks, wrong, problems = {}, {}, []
    for name, record in runs.items():
        folder = record_folder(study_dir, record)
        try:
            networks[name] = load_network(folder, record)
            wrong[name] = wrong_images(folder, record, dataset)
        except RecordError as error:
            problems.append(str(error))
    if "target" not in wrong:
        return None, problems
    variants = {}
    shown = set(samples)
    for name in wrong.keys() - {"target"}:
        lost, won = differing_images(wrong[name], wrong["target"])
        some = [*lost[:NUM_SHOWN], *won[:NUM_SHOWN]]
        shown |= set(some)
        variants[name] = VariantImages(
            num_lost=len(lost),
            num_won=len(won),
            lost=lost[:NUM_SHOWN],
            won=won[:NUM_SHOWN],
            answers=ask(networks[name], runs[name], dataset, some),
        )
    numbers = sorted(shown)
    gallery = Gallery(
        seed=runs["target"].run_spec.seed,
        weights_sha256=weights_digests(runs),
        input_mean=dataset.mean,
        input_std=dataset.std,
        class_names=list(dataset.class_names),
        samples=samples,
        images=[
            ShownImage(
                number, int(dataset.test_labels[number]), dataset.test_images[number].tobytes()
            )
            for number in numbers
        ],
        target_answers=ask(networks["target"], runs["target"], dataset, numbers),
        variants=dict(sorted(variants.items())),
    )
    return gallery, problems


def wrong_images(run_dir: Path, record: RunRecord, dataset: Dataset) -> list[int]:
    """The test images that a run got wrong, from its predictions: old records do not name them.

    Raises:
        RecordError: the predictions are missing or are not those that were recorded.
    """
    predicted_class = load_predictions(run_dir, record).predicted_class
    return [int(number) for number in np.flatnonzero(predicted_class != dataset.test_labels)]


@torch.inference_mode()
def ask(
    network: nn.Module, record: RunRecord, dataset: Dataset, numbers: list[int]
) -> dict[int, ImageAnswer]:
    """What a network says of test images, computed plainly in float32.

    A run that was computed otherwise may have answered the other way where the odds are even.
    """
    if not numbers:
        return {}
    pixels = torch.as_tensor(dataset.test_images[numbers])
    logits = network(prepare_pixels(pixels, input_scale(record.run_spec, dataset)))
    probabilities, answers = logits.softmax(dim=1).max(dim=1)
    return {
        number: ImageAnswer(answer, round(probability, 4))
        for number, answer, probability in zip(
            numbers, answers.tolist(), probabilities.tolist(), strict=True
        )
    }
