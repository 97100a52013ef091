"""The time of single parts, for `make bench`. Nothing here asserts a time.

Network steps run on one thread, as in a worker process, with the recipe's batch size.
"""

from collections.abc import Iterator

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor
from torch.nn import functional

from ablations.analysis.summary import summarise
from ablations.catalogue.ablation import Ablation
from ablations.catalogue.entries import ENTRIES
from ablations.catalogue.recipes import PUBLISHED
from ablations.data.datasets import load_dataset
from ablations.training.augmentation import augment, draw_augmentation
from ablations.training.batches import Images
from ablations.training.loop import Trainee, evaluate, train_epoch
from benchmarks.steps import Configuration
from mnist_blocks.network import build_network
from reports.html.page import render_page
from tests.factories import ALL_NAMES, make_exhibits, make_study

BATCH_SIZE = 128
CPU = torch.device("cpu")
NETWORKS = [ablation for ablation in ENTRIES if ablation.kind != "training"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="module")
def prepared() -> tuple[Trainee, Images]:
    """The target, and the digits' training images."""
    return Configuration("plain", BATCH_SIZE).prepare(load_dataset("digits", None), 1_437)


def _random_batch() -> tuple[Tensor, Tensor]:
    stream = torch.Generator().manual_seed(0)
    images = torch.rand(BATCH_SIZE, 1, 28, 28, generator=stream)
    return images, torch.randint(10, (BATCH_SIZE,), generator=stream)


@pytest.mark.parametrize("ablation", NETWORKS, ids=lambda ablation: ablation.name)
def test_forward(benchmark: BenchmarkFixture, ablation: Ablation) -> None:
    network = build_network(ablation.network_spec).to(memory_format=torch.channels_last).eval()
    images, _ = _random_batch()
    with torch.inference_mode():
        logits = benchmark(network, images)
    assert logits.shape == (BATCH_SIZE, 10)


@pytest.mark.parametrize("ablation", NETWORKS, ids=lambda ablation: ablation.name)
def test_forward_and_backward(benchmark: BenchmarkFixture, ablation: Ablation) -> None:
    network = build_network(ablation.network_spec).to(memory_format=torch.channels_last)
    images, labels = _random_batch()

    def forward_and_backward() -> None:
        network.zero_grad()
        functional.cross_entropy(network(images), labels).backward()

    benchmark(forward_and_backward)
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_augmentation(benchmark: BenchmarkFixture) -> None:
    images, _ = _random_batch()
    draws = draw_augmentation(PUBLISHED, BATCH_SIZE, seed=0, epoch=1, device=CPU)
    assert draws
    assert benchmark(augment, images, draws).shape == images.shape


def test_training_epoch(benchmark: BenchmarkFixture, prepared: tuple[Trainee, Images]) -> None:
    """12 steps of the training loop: batches, augmentation, forward, backward and optimiser."""
    loss, _ = benchmark(train_epoch, *prepared, 1)
    assert loss > 0


def test_evaluation(benchmark: BenchmarkFixture, prepared: tuple[Trainee, Images]) -> None:
    result = benchmark(evaluate, *prepared)
    assert len(result.predicted_class) == 1_437


def test_report(benchmark: BenchmarkFixture) -> None:
    """All variants x 10 seeds, with networks, images and observations: from records to page."""
    study = make_study(dict.fromkeys(ALL_NAMES, range(10 if benchmark.enabled else 1)))
    exhibits = make_exhibits(study)

    def report() -> str:
        return render_page(summarise(study), exhibits)

    page = benchmark.pedantic(report, rounds=3)  # type: ignore[no-untyped-call]
    assert all(name in page for name in ALL_NAMES)
