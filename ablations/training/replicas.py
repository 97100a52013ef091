"""Several seeds of one experiment, trained as one wide network: the loop for a GPU.

It does what `loop.py` does, for S seeds at once (`speed/gpu/wide.py` joins their networks). Each
seed, here a replica, has its own initial weights, order of images, augmentation and dropout, from
the streams of the same names. The loss is the sum of the replicas' losses, so that their gradients
stay apart, and a replica's record equals that of its seed alone, up to rounding.

The difference is in the order of work. Batches and dropout masks are prepared for several steps at
a time, a *chunk*, in tensors that stay in place. The steps of a chunk depend on these tensors
alone, so a GPU can capture and replay them (`speed/gpu/capture.py`). Nothing is read from the
device before the end of an epoch.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from ablations.catalogue.experiment import RunSpec, TrainingSpec
from ablations.data.dataset import Dataset
from ablations.training.augmentation import Augmentation, choose, draw_augmentation, join
from ablations.training.batches import Images, InputScale, load_images, prepare_pixels
from ablations.training.epoch import EpochRecord
from ablations.training.loop import TrainedNetwork
from ablations.training.scoring import describe_epoch, score_logits
from ablations.training.seeding import derive_seed, initialise_weights, random_stream
from mnist_blocks.network import build_network
from mnist_blocks.spec import IMAGE_SIZE
from mnist_blocks.summary import layer_table
from speed.gpu.capture import Capture, Steps, capture, use_plain_float32
from speed.gpu.wide import WideDropout, WideNetwork, narrow, widen

STEPS_PER_CHUNK = 12
"""Divides the 468 full batches of MNIST. It does not depend on the number of replicas, since a
device may draw other masks for a chunk of another length."""

TEST_IMAGES_AT_ONCE = 4000
"""Test images times replicas in one forward pass."""


@dataclass(frozen=True)
class _Chunk:
    """The inputs of a chunk's steps, in memory that stays in place."""

    inputs: Float[Tensor, "steps batch replicas 28 28"]
    labels: Int64[Tensor, "steps replicas batch"]
    masks: dict[str, Bool[Tensor, "replicas steps batch ..."]]
    """By dropout layer: True where an activation is kept."""
    learning_rates: Float[Tensor, " steps"]
    """On the device, so that a replayed step reads its current value."""


@dataclass(frozen=True)
class ReplicaGroup:
    """Replicas in training, and all that their steps read and change."""

    network: WideNetwork
    parameters: list[Tensor]
    velocities: list[Tensor]
    """The momentum buffer of each parameter, initially 0."""
    loss_sum: Float[Tensor, " replicas"]
    """Over the epoch's images so far, each with the weights of its own step."""
    num_correct: Int64[Tensor, " replicas"]
    chunk: _Chunk
    scale: InputScale
    recipe: TrainingSpec
    seeds: list[int]


@dataclass(frozen=True)
class EpochDraws:
    """What an epoch's steps need besides dropout masks, on the device."""

    order: Int64[Tensor, " draws"]
    """One replica's after another's, as is the augmentation."""
    augmentation: Augmentation | None
    learning_rates: Float[Tensor, " steps"]


def train_replicas(
    run_specs: Sequence[RunSpec],
    dataset: Dataset,
    device: torch.device,
    after_epoch: Callable[[RunSpec, EpochRecord], None] = lambda run_spec, record: None,
    dtype: torch.dtype = torch.float32,
    capture_steps: Capture = capture,
) -> list[TrainedNetwork]:
    """Train runs that differ only in their seeds, from initial weights to the end.

    A replica that diverges ends with the epoch after which it would stop alone; the others go on.
    An epoch's seconds are the group's divided by the number of replicas. Calls `after_epoch` for
    each replica after each epoch.

    Raises:
        ValueError: the runs differ in more than their seeds.
        torch.cuda.OutOfMemoryError: the device cannot hold so many (see `gpu_memory.py`).
    """
    recipe = run_specs[0].training
    train_images, test_images = load_images(dataset, recipe, device)
    group = prepare_group(run_specs, dataset, device, dtype)
    take_steps = capture_steps(partial(train_steps, group), device)

    epochs: list[list[EpochRecord]] = [[] for _ in run_specs]
    trained: dict[int, TrainedNetwork] = {}
    draws = draw_epoch(group, len(train_images), epoch=1)
    for epoch in range(1, recipe.num_epochs + 1):
        started = time.perf_counter()
        train_group_epoch(group, take_steps, train_images, draws, epoch)
        logits = classify(group, test_images)
        # A GPU works asynchronously: meanwhile the next epoch is drawn.
        if epoch < recipe.num_epochs:
            draws = draw_epoch(group, len(train_images), epoch + 1)
        train_loss = (group.loss_sum / len(train_images)).tolist()
        accuracy_pct = (100 * group.num_correct.double() / len(train_images)).tolist()
        results = [score_logits(replica_logits, test_images.labels) for replica_logits in logits]
        seconds = (time.perf_counter() - started) / len(run_specs)
        for k, (run_spec, result) in enumerate(zip(run_specs, results, strict=True)):
            if k in trained:
                continue
            record = describe_epoch(recipe, epoch, train_loss[k], accuracy_pct[k], result, seconds)
            epochs[k].append(record)
            after_epoch(run_spec, record)
            if record.has_diverged or epoch == recipe.num_epochs:
                network = build_network(run_spec.network)
                network.load_state_dict(narrow(group.network, k), assign=True)
                trained[k] = TrainedNetwork(network, epochs[k], result)
        if len(trained) == len(run_specs):
            break
    return [trained[k] for k in range(len(run_specs))]


def prepare_group(
    run_specs: Sequence[RunSpec],
    dataset: Dataset,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> ReplicaGroup:
    """Replicas with their initial weights, ready for training on a device.

    Raises:
        ValueError: the runs differ in more than their seeds.
    """
    first = run_specs[0]
    for run_spec in run_specs:
        if replace(run_spec, seed=first.seed) != first:
            raise ValueError(
                f"'{run_spec.ablation}', seed {run_spec.seed} differs from '{first.ablation}', "
                f"seed {first.seed} in more than the seed: only seeds of one experiment are a group"
            )
    if device.type == "cuda":
        use_plain_float32()
    networks = [build_network(run_spec.network) for run_spec in run_specs]
    for network, run_spec in zip(networks, run_specs, strict=True):
        initialise_weights(network, run_spec.stream_seed)
    wide = widen(networks).to(device=device, dtype=dtype)
    parameters: list[Tensor] = list(wide.parameters())
    recipe, num_replicas = first.training, len(run_specs)
    steps, batch = STEPS_PER_CHUNK, recipe.batch_size
    with device:
        chunk = _Chunk(
            inputs=torch.empty(steps, batch, num_replicas, IMAGE_SIZE, IMAGE_SIZE, dtype=dtype),
            labels=torch.empty(steps, num_replicas, batch, dtype=torch.int64),
            masks={
                name: torch.empty(num_replicas, steps, batch, *shape, dtype=torch.bool)
                for name, shape in dropout_shapes(first).items()
            },
            learning_rates=torch.empty(steps, dtype=dtype),
        )
    return ReplicaGroup(
        network=wide,
        parameters=parameters,
        velocities=[torch.zeros_like(parameter) for parameter in parameters],
        loss_sum=torch.zeros(num_replicas, device=device, dtype=dtype),
        num_correct=torch.zeros(num_replicas, device=device, dtype=torch.int64),
        chunk=chunk,
        scale=InputScale.of(dataset, recipe),
        recipe=recipe,
        seeds=[run_spec.stream_seed for run_spec in run_specs],
    )


def dropout_shapes(run_spec: RunSpec) -> dict[str, tuple[int, ...]]:
    """The shape of each dropout layer's input in one network, for one image, by layer name."""
    return {
        row.name: row.output_shape
        for row in layer_table(run_spec.network)
        if row.name.endswith("dropout")
    }


def draw_epoch(group: ReplicaGroup, num_images: int, epoch: int) -> EpochDraws:
    """Each replica's order of images and augmentation, as for its seed alone, and the schedule."""
    cpu = torch.device("cpu")
    orders, augmentations = [], []
    for seed in group.seeds:
        stream = random_stream(seed, f"order.epoch{epoch}")
        orders.append(torch.randperm(num_images, generator=stream))
        if drawn := draw_augmentation(group.recipe, num_images, seed, epoch, cpu):
            augmentations.append(choose(drawn, orders[-1]))
    # Copied only now: a copy waits for the GPU, which may still be at work on the epoch before.
    device = group.loss_sum.device
    augmentation = join(augmentations, device) if augmentations else None
    rates = group.recipe.learning_rates(epoch, math.ceil(num_images / group.recipe.batch_size))
    learning_rates = torch.tensor(rates, dtype=group.chunk.learning_rates.dtype)
    return EpochDraws(torch.cat(orders).to(device), augmentation, learning_rates.to(device))


def mask_streams(group: ReplicaGroup, epoch: int) -> dict[str, list[torch.Generator]]:
    """For each dropout layer the random streams of its masks, one for each replica.

    They are on the device, whose numbers differ from a CPU's. A stream gives the masks chunk by
    chunk, and in a chunk by step, image, channel, y and x.
    """
    device = group.chunk.inputs.device
    return {
        name: [
            torch.Generator(device).manual_seed(derive_seed(seed, f"dropout.epoch{epoch}.{name}"))
            for seed in group.seeds
        ]
        for name in group.chunk.masks
    }


def train_group_epoch(
    group: ReplicaGroup, take_steps: Steps, images: Images, draws: EpochDraws, epoch: int
) -> None:
    """Train every replica on every image once, in its own order.

    `take_steps` is `train_steps` of this group, captured or not. The epoch's sums are in the group,
    on a GPU perhaps only after this function returns.
    """
    group.network.train()
    group.loss_sum.zero_()
    group.num_correct.zero_()
    streams = mask_streams(group, epoch)
    for first, num_steps, batch_size in split_into_chunks(len(images), group.recipe.batch_size):
        _fill_chunk(group, images, draws, first, num_steps, batch_size)
        draw_masks(group, streams, num_steps, batch_size)
        take_steps(num_steps, batch_size)


def split_into_chunks(num_images: int, batch_size: int) -> Iterator[tuple[int, int, int]]:
    """An epoch as (first image, number of steps, batch size); the last batch may be smaller."""
    num_full = num_images // batch_size
    for step in range(0, num_full, STEPS_PER_CHUNK):
        yield step * batch_size, min(STEPS_PER_CHUNK, num_full - step), batch_size
    if num_images % batch_size:
        yield num_full * batch_size, 1, num_images % batch_size


def _fill_chunk(
    group: ReplicaGroup,
    images: Images,
    draws: EpochDraws,
    first: int,
    num_steps: int,
    batch_size: int,
) -> None:
    """Write the next batches of every replica into the chunk, augmented at once."""
    shape = num_steps, batch_size, len(group.seeds)
    # In the draws, by step, image of the batch, and replica.
    device = draws.order.device
    places = torch.arange(first, first + num_steps * batch_size, device=device).unsqueeze(1)
    replica_starts = torch.arange(0, len(draws.order), len(images), device=device)
    positions = (places + replica_starts).flatten()
    chosen = draws.order[positions]
    augmentation = draws.augmentation and choose(draws.augmentation, positions)
    inputs = prepare_pixels(images.pixels[chosen], group.scale, augmentation)
    labels = images.labels[chosen].view(shape).transpose(1, 2)
    group.chunk.inputs[:num_steps, :batch_size] = inputs.view(*shape, IMAGE_SIZE, IMAGE_SIZE)
    group.chunk.labels[:num_steps, :, :batch_size] = labels
    first_step = first // group.recipe.batch_size
    rates = draws.learning_rates[first_step : first_step + num_steps]
    group.chunk.learning_rates[:num_steps] = rates


def draw_masks(
    group: ReplicaGroup, streams: dict[str, list[torch.Generator]], num_steps: int, batch_size: int
) -> None:
    """Draw the chunk's dropout masks, with each layer's probability."""
    for name, generators in streams.items():
        layer = group.network.get_submodule(name)
        assert isinstance(layer, WideDropout)
        for mask, generator in zip(group.chunk.masks[name], generators, strict=True):
            mask[:num_steps, :batch_size].bernoulli_(1 - layer.probability, generator=generator)


def train_steps(group: ReplicaGroup, num_steps: int, batch_size: int) -> None:
    """The first steps of the chunk, each on the first images of its batch: what a GPU captures."""
    chunk = group.chunk
    for step in range(num_steps):
        for name, masks in chunk.masks.items():
            group.network.get_submodule(name).mask = masks[:, step, :batch_size]
        labels = chunk.labels[step, :, :batch_size]
        logits = group.network(chunk.inputs[step, :batch_size])
        losses = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        losses = losses.view(labels.shape).mean(dim=1)
        # A replica's loss depends on its own weights alone, so the sum's gradient is theirs.
        gradients = torch.autograd.grad(losses.sum(), group.parameters)
        descend(group, list(gradients), chunk.learning_rates[step])
        group.loss_sum.add_(losses.detach() * batch_size)
        group.num_correct.add_((logits.detach().argmax(dim=2) == labels).sum(dim=1))


@torch.no_grad()
def descend(group: ReplicaGroup, gradients: list[Tensor], learning_rate: Float[Tensor, ""]) -> None:
    """A step of gradient descent with momentum, by the formula of `torch.optim.SGD`.

    g <- gradient + weight_decay * w; v <- momentum * v + g; w <- w - learning_rate * v, or with
    Nesterov's momentum w <- w - learning_rate * (g + momentum * v). Written out because that
    optimiser reads its learning rate when a step is captured instead of when it is replayed.
    """
    recipe = group.recipe
    if recipe.weight_decay:
        gradients = [
            gradient.add(parameter, alpha=recipe.weight_decay) if parameter.ndim > 1 else gradient
            for parameter, gradient in zip(group.parameters, gradients, strict=True)
        ]
    torch._foreach_mul_(group.velocities, recipe.momentum)
    torch._foreach_add_(group.velocities, gradients)
    directions = group.velocities
    if recipe.nesterov:
        directions = list(torch._foreach_add(gradients, group.velocities, alpha=recipe.momentum))
    steps = torch._foreach_mul(directions, learning_rate)
    torch._foreach_sub_(group.parameters, steps)


@torch.inference_mode()
def classify(group: ReplicaGroup, images: Images) -> Float[Tensor, "replicas images 10"]:
    """Every replica's logits for all images, with dropout off."""
    group.network.eval()
    num_replicas = len(group.seeds)
    batch_size = max(1, TEST_IMAGES_AT_ONCE // num_replicas)
    logits = []
    for pixels in images.pixels.split(batch_size):
        inputs = prepare_pixels(pixels, group.scale).to(group.chunk.inputs.dtype)
        logits.append(group.network(inputs.expand(-1, num_replicas, -1, -1)))
    return torch.cat(logits, dim=1)
