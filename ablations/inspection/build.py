"""Makes the measurements and images for a report, from a study's weights and the data set."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load
from torch import nn

from ablations.data.dataset import Dataset
from ablations.data.datasets import DataError, load_dataset, resolve_dataset
from ablations.inspection.load import (
    GALLERY_FILE,
    NUM_SHOWN,
    Gallery,
    ImageAnswer,
    ShownImage,
    VariantImages,
    load_exhibits,
    weights_digests,
)
from ablations.inspection.measure import measure_network, sample_images
from ablations.records.atomic_io import RecordError, write_atomically
from ablations.records.checksums import encode_with_checksum
from ablations.records.run import (
    OBSERVATIONS_FILE,
    WEIGHTS_FILE,
    RunRecord,
    load_predictions,
    read_verified,
    run_folder,
)
from ablations.records.study import (
    Study,
)
from ablations.training.batches import InputScale, prepare_pixels
from mnist_blocks.network import build_network


def make_exhibits(study_dir: Path, study: Study, dataset: Dataset) -> list[str]:
    """Write the observations and the gallery that are missing, damaged or of other weights.

    Returns what could not be made, and why.

    Raises:
        ValueError: the data set is not the study's.
    """
    if dataset.id != study.spec.dataset:
        raise ValueError(f"study of {study.spec.dataset}, but the data set is {dataset.id}")
    problems: list[str] = []
    exhibits = load_exhibits(study_dir, study)
    for record in exhibits.unmeasured:
        try:
            _measure_run(run_folder(study_dir, record.run_spec), record, dataset)
        except (RecordError, RuntimeError) as error:
            problems.append(str(error))
    if exhibits.shown_runs and not exhibits.gallery:
        gallery = _make_gallery(study_dir, exhibits.shown_runs, dataset, problems)
        if gallery:
            content = encode_with_checksum(gallery, is_indented=False)
            write_atomically(study_dir / GALLERY_FILE, content)
    return problems


def complete_exhibits(
    study_dir: Path, study: Study, data_dir: Path | None, print_line: Callable[[str], None]
) -> None:
    """`make_exhibits` if the data set is on this machine; prints what could not be made."""
    try:
        name, folder = resolve_dataset(
            study.spec.dataset.name, data_dir, fetch=False, log=lambda line: None
        )
        print_line("Measuring the networks for the report ...")
        problems = make_exhibits(study_dir, study, load_dataset(name, folder))
    except (DataError, ValueError) as error:
        problems = [str(error)]
    for problem in dict.fromkeys(problems):
        print_line(f"The page shows less of the networks: {problem}")


def _measure_run(run_dir: Path, record: RunRecord, dataset: Dataset) -> None:
    observations = measure_network(
        record.run_spec,
        _load_network(run_dir, record),
        dataset,
        load_predictions(run_dir, record).predicted_class,
        record.file_sha256[WEIGHTS_FILE],
        torch.device("cpu"),
    )
    content = encode_with_checksum(observations, is_indented=False)
    write_atomically(run_dir / OBSERVATIONS_FILE, content)


def _load_network(run_dir: Path, record: RunRecord) -> nn.Sequential:
    """A run's trained network, in evaluation mode; RecordError for missing or damaged weights."""
    network = build_network(record.run_spec.network)
    network.load_state_dict(load(read_verified(run_dir / WEIGHTS_FILE, record)))
    return network.eval()


def _make_gallery(
    study_dir: Path, runs: dict[str, RunRecord], dataset: Dataset, problems: list[str]
) -> Gallery | None:
    """The gallery of these runs, None without the target; adds why networks are left out."""
    networks, wrong = {}, {}
    for name, record in runs.items():
        run_dir = run_folder(study_dir, record.run_spec)
        try:
            predictions = load_predictions(run_dir, record)
            networks[name] = _load_network(run_dir, record)
        except RecordError as error:
            problems.append(str(error))
        else:
            is_wrong = predictions.predicted_class != dataset.test_labels
            wrong[name] = set(np.flatnonzero(is_wrong).tolist())
    if "target" not in wrong:
        return None
    samples = sample_images(dataset.test_labels)
    variants, shown = {}, set(samples)
    for name in sorted(wrong.keys() - {"target"}):
        lost = sorted(wrong[name] - wrong["target"])
        won = sorted(wrong["target"] - wrong[name])
        numbers = [*lost[:NUM_SHOWN], *won[:NUM_SHOWN]]
        shown |= set(numbers)
        variants[name] = VariantImages(
            num_lost=len(lost),
            num_won=len(won),
            lost=lost[:NUM_SHOWN],
            won=won[:NUM_SHOWN],
            answers=_classify(networks[name], runs[name], dataset, numbers),
        )
    numbers = sorted(shown)
    return Gallery(
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
        target_answers=_classify(networks["target"], runs["target"], dataset, numbers),
        variants=variants,
    )


@torch.inference_mode()
def _classify(
    network: nn.Module, record: RunRecord, dataset: Dataset, numbers: list[int]
) -> dict[int, ImageAnswer]:
    """A network's predictions for test images, by PyTorch's layers in float32.

    They may differ from the run's, in another arithmetic, where two classes are about as probable.
    """
    if not numbers:
        return {}
    pixels = torch.as_tensor(dataset.test_images[numbers])
    scale = InputScale.of(dataset, record.run_spec.training)
    logits = network(prepare_pixels(pixels, scale))
    probabilities, classes = logits.softmax(dim=1).max(dim=1)
    return {
        number: ImageAnswer(int(class_index), round(float(probability), 4))
        for number, class_index, probability in zip(numbers, classes, probabilities, strict=True)
    }
