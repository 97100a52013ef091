"""How long the parts take: `make bench`. Nothing here asserts a time.

Network steps run on one thread, as in a worker process, on the batch size of the recipe.
"""

from collections.abc import Iterator

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor
from torch.nn import functional

from ablations.analysis.summary import summarise
from ablations.catalogue.ablation import Ablation
from ablations.catalogue.entries import CATALOGUE, find_ablation
from ablations.data.dataset import Dataset
from ablations.data.datasets import load_dataset
from ablations.records.study import plan_runs
from ablations.records.study_spec import StudySpec
from ablations.training.augmentation import augment, draw_augmentation
from ablations.training.batches import load_images
from ablations.training.loop import evaluate, prepare_training, train_epoch
from mnist_blocks.network import build_network
from reports.html.page import render_page
from tests.factories import ALL_NAMES, make_exhibits, make_study

BATCH_SIZE = 128
CPU = torch.device("cpu")
NETWORKS = [ablation for ablation in CATALOGUE if ablation.kind != "training"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits", None)


def random_batch() -> tuple[Tensor, Tensor]:
    stream = torch.Generator().manual_seed(0)
    images = torch.rand(BATCH_SIZE, 1, 28, 28, generator=stream)
    return images, torch.randint(10, (BATCH_SIZE,), generator=stream)


@pytest.mark.parametrize("ablation", NETWORKS, ids=lambda ablation: ablation.name)
def test_forward(benchmark: BenchmarkFixture, ablation: Ablation) -> None:
    network = build_network(ablation.network_spec).to(memory_format=torch.channels_last).eval()
    images, _ = random_batch()
    with torch.inference_mode():
        logits = benchmark(network, images)
    assert logits.shape == (BATCH_SIZE, 10)


@pytest.mark.parametrize("ablation", NETWORKS, ids=lambda ablation: ablation.name)
def test_forward_and_backward(benchmark: BenchmarkFixture, ablation: Ablation) -> None:
    network = build_network(ablation.network_spec).to(memory_format=torch.channels_last)
    images, labels = random_batch()

    def forward_and_backward() -> None:
        network.zero_grad()
        functional.cross_entropy(network(images), labels).backward()

    benchmark(forward_and_backward)
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_augmentation(benchmark: BenchmarkFixture) -> None:
    images, _ = random_batch()
    draws = draw_augmentation(BATCH_SIZE, seed=0, epoch=1, device=CPU)
    assert benchmark(augment, images, draws).shape == images.shape


def test_training_epoch_of_digits(benchmark: BenchmarkFixture, digits: Dataset) -> None:
    """12 steps of the real loop: batches, augmentation, forward, backward and optimiser."""
    spec = StudySpec(digits.id, digits.title, 1, None, "cpu")
    [run_spec] = plan_runs(spec, [find_ablation("target")], [0])
    images, _ = load_images(digits, run_spec.training, CPU)
    trainee = prepare_training(run_spec, digits, CPU)
    loss, _ = benchmark(train_epoch, trainee, images, 1)
    assert loss > 0


def test_evaluation_of_digits(benchmark: BenchmarkFixture, digits: Dataset) -> None:
    """360 images."""
    spec = StudySpec(digits.id, digits.title, 1, None, "cpu")
    [run_spec] = plan_runs(spec, [find_ablation("target")], [0])
    _, images = load_images(digits, run_spec.training, CPU)
    trainee = prepare_training(run_spec, digits, CPU)
    result = benchmark(evaluate, trainee, images)
    assert len(result.predicted_class) == 360


def test_report(benchmark: BenchmarkFixture) -> None:
    """16 variants x 10 seeds with their networks, images and observations: from records to page."""
    study = make_study(dict.fromkeys(ALL_NAMES, range(10)))
    exhibits = make_exhibits(study)

    def report() -> str:
        return render_page(summarise(study), exhibits)

    page = benchmark.pedantic(report, rounds=3)  # type: ignore[no-untyped-call]
    assert page.count('<article class="entry"') == len(CATALOGUE)
    assert len(page.encode()) < 4_000_000
