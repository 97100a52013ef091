"""A plain PyTorch loop with torchvision's transforms and a DataLoader.

python -m benchmarks.baselines.dataloader --epochs 1
"""

import time
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from ablations.data.dataset import Dataset
from benchmarks.baselines.command import baseline_command
from benchmarks.baselines.recipe import (
    BaselineEpoch,
    BaselineResult,
    make_loaders,
    make_network,
    make_optimizer,
)
from mnist_blocks.summary import count_parameters


def train(
    dataset: Dataset,
    device: torch.device,
    num_epochs: int,
    num_train_images: int | None = None,
    seed: int = 0,
    num_workers: int | None = None,
    is_tuned: bool = True,
) -> BaselineResult:
    """Train the target network on the first training images, and test it after each epoch.

    `recipe.py` describes the tuning.
    """
    torch.manual_seed(seed)
    train_loader, test_loader = make_loaders(dataset, device, num_train_images, num_workers)
    network = make_network(is_tuned).to(device)
    optimizer, schedule = make_optimizer(network, num_epochs, is_tuned)

    epochs: list[BaselineEpoch] = []
    for epoch in range(1, num_epochs + 1):
        started = time.perf_counter()
        learning_rate = float(schedule.get_last_lr()[0])
        num_steps = train_epoch(network, optimizer, train_loader, device)
        schedule.step()
        num_correct = evaluate(network, test_loader, device)
        epochs.append(
            BaselineEpoch(
                epoch=epoch,
                learning_rate=learning_rate,
                num_steps=num_steps,
                test_accuracy_pct=100 * num_correct / len(dataset.test_labels),
                seconds=time.perf_counter() - started,
            )
        )
    return BaselineResult(
        parameters=count_parameters(network),
        num_train_images=len(dataset.train_labels[:num_train_images]),
        epochs=epochs,
    )


def train_epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[tuple[Tensor, Tensor]],
    device: torch.device,
) -> int:
    """One step for each batch; returns their number."""
    network.train()
    num_steps = 0
    for images, labels in batches:
        images = images.to(device, non_blocking=True)
        labels = labels.to(device, non_blocking=True)
        loss = functional.cross_entropy(network(images), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        num_steps += 1
    return num_steps


@torch.inference_mode()
def evaluate(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], device: torch.device
) -> int:
    """The number of correctly classified images."""
    network.eval()
    num_correct = torch.zeros((), dtype=torch.int64, device=device)
    for images, labels in batches:
        images = images.to(device, non_blocking=True)
        labels = labels.to(device, non_blocking=True)
        num_correct += (network(images).argmax(dim=1) == labels).sum()
    return int(num_correct.item())


COMMAND = baseline_command(train)

if __name__ == "__main__":
    COMMAND()
