"""Several seeds of one experiment, trained as one wide network: the loop that a GPU runs.

It does what `loop.py` does, for S seeds at once (`speed/gpu/wide.py` says how networks fold into
one), and reads like it. Each seed, here a replica, has its own initial weights, order of images,
augmentation and dropout, from the streams that bear the same names; the loss is the sum of the
replicas' losses, so that no gradient mixes; and what is recorded of a replica is what would be
recorded of its seed alone, up to rounding.

What differs is when things are done. Batches and dropout masks are prepared for several steps at
a time, a *chunk*, into tensors that stay where they are. The steps of a chunk then are a function
of these tensors alone, so that a GPU can record and replay them (`speed/gpu/capture.py`). No number is
read from the device before the end of an epoch.
"""

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
from ablations.training.augmentation import Augmentation, draw_augmentation
from ablations.training.batches import Images, InputScale, load_images, prepare_pixels
from ablations.training.epoch import EpochRecord, is_diverged
from ablations.training.loop import TrainedNetwork, describe_epoch, judge
from ablations.training.seeding import derive_seed, initialise_weights, random_stream
from mnist_blocks.network import build_network
from mnist_blocks.spec import IMAGE_SIZE
from mnist_blocks.summary import layer_table
from speed.gpu.capture import Steps, capture, use_plain_float32
from speed.gpu.wide import WideDropout, WideNetwork, narrow, widen

STEPS_PER_CHUNK = 12
"""Divides the 468 full batches of MNIST. Never chosen by the number of replicas: a device may draw
other masks for a chunk of another length."""

TEST_IMAGES_AT_ONCE = 4000
"""Test images times replicas in one pass."""

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Chunk:
    """What the steps of a chunk work on, in memory that stays where it is."""

    inputs: Float[Tensor, "steps batch replicas 28 28"]
    labels: Int64[Tensor, "steps replicas batch"]
    masks: dict[str, Bool[Tensor, "replicas steps batch ..."]]
    """By dropout layer: True where an activation is kept."""


@dataclass(frozen=True)
class Group:
    """Replicas in training, and all that their steps read and change."""

    network: WideNetwork
    parameters: list[Tensor]
    velocities: list[Tensor]
    """Momentum's memory, one for each parameter; from 0, so that the first is the gradient."""
    learning_rate: Float[Tensor, ""]
    """On the device, where a recorded step reads it anew each time."""
    loss_sum: Float[Tensor, " replicas"]
    """Of the epoch so far, each image's loss under the weights of its step."""
    num_correct: Int64[Tensor, " replicas"]
    chunk: Chunk
    scale: InputScale
    recipe: TrainingSpec
    seeds: list[int]


@dataclass(frozen=True)
class EpochDraws:
    """What chance decides for an epoch, beside dropout: a row for each replica, in its order."""

    image: Int64[Tensor, "replicas images"]
    is_zoomed: Bool[Tensor, "replicas images"] | None
    """None: no augmentation."""
    angle_radians: Float[Tensor, "replicas images"] | None

    def to(self, device: torch.device) -> "EpochDraws":
        """The same on a device."""
        if self.is_zoomed is None or self.angle_radians is None:
            return EpochDraws(self.image.to(device), None, None)
        return EpochDraws(
            self.image.to(device), self.is_zoomed.to(device), self.angle_radians.to(device)
        )


def train_group(
    run_specs: Sequence[RunSpec],
    dataset: Dataset,
    device: torch.device,
    after_epoch: Callable[[RunSpec, EpochRecord], None] = lambda run_spec, record: None,
    dtype: torch.dtype = torch.float32,
) -> list[TrainedNetwork]:
    """Train experiments that differ in their seeds alone, from initial weights to the end.

    Returns what training each ends with, in their order. A replica that diverges ends with the
    epoch after which it would have stopped alone; the others go on. An epoch's seconds are the
    group's divided by the number of replicas.

    Calls `after_epoch` with an experiment and its record, for each replica after each epoch.

    Raises:
        ValueError: the experiments differ in more than their seeds.
        torch.cuda.OutOfMemoryError: the device cannot hold so many (see `gpu_memory.py`).
    """
    recipe = run_specs[0].training
    train_images, test_images = load_images(dataset, recipe, device)
    group = prepare_group(run_specs, dataset, device, dtype)
    take_steps = capture(partial(train_steps, group), device)

    epochs: list[list[EpochRecord]] = [[] for _ in run_specs]
    ended: dict[int, TrainedNetwork] = {}
    draws = draw_epoch(group, len(train_images), epoch=1)
    for epoch in range(1, recipe.num_epochs + 1):
        started = time.perf_counter()
        train_group_epoch(group, take_steps, train_images, draws, epoch)
        logits = classify(group, test_images)
        # A GPU has only been told what to do so far: while it works, the next epoch is drawn.
        if epoch < recipe.num_epochs:
            draws = draw_epoch(group, len(train_images), epoch + 1)
        train_loss = (group.loss_sum / len(train_images)).tolist()
        train_accuracy_pct = (100 * group.num_correct.double() / len(train_images)).tolist()
        results = [judge(replica_logits, test_images.labels) for replica_logits in logits]
        seconds = (time.perf_counter() - started) / len(run_specs)
        for replica, (run_spec, result) in enumerate(zip(run_specs, results, strict=True)):
            if replica in ended:
                continue
            record = describe_epoch(
                recipe, epoch, train_loss[replica], train_accuracy_pct[replica], result, seconds
            )
            epochs[replica].append(record)
            after_epoch(run_spec, record)
            if is_diverged(record) or epoch == recipe.num_epochs:
                network = build_network(run_spec.network)
                network.load_state_dict(narrow(group.network, replica), assign=True)
                ended[replica] = TrainedNetwork(
                    network, epochs[replica], result, is_diverged(record)
                )
        if len(ended) == len(run_specs):
            break
    return [ended[replica] for replica in range(len(run_specs))]


def prepare_group(
    run_specs: Sequence[RunSpec],
    dataset: Dataset,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Group:
    """Replicas with their initial weights on a device, and what their training needs.

    Raises:
        ValueError: the experiments differ in more than their seeds.
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
    recipe = first.training
    networks = [build_network(run_spec.network) for run_spec in run_specs]
    for network, run_spec in zip(networks, run_specs, strict=True):
        initialise_weights(network, run_spec.seed)
    wide = widen(networks).to(device=device, dtype=dtype)
    parameters: list[Tensor] = list(wide.parameters())
    return Group(
        network=wide,
        parameters=parameters,
        velocities=[torch.zeros_like(parameter) for parameter in parameters],
        learning_rate=torch.tensor(recipe.learning_rate, device=device, dtype=dtype),
        loss_sum=torch.zeros(len(run_specs), device=device, dtype=dtype),
        num_correct=torch.zeros(len(run_specs), device=device, dtype=torch.int64),
        chunk=make_chunk(first, len(run_specs), device, dtype),
        scale=InputScale(dataset.mean, dataset.std) if recipe.normalise_input else InputScale(),
        recipe=recipe,
        seeds=[run_spec.seed for run_spec in run_specs],
    )


def make_chunk(
    run_spec: RunSpec, num_replicas: int, device: torch.device, dtype: torch.dtype
) -> Chunk:
    """Memory for a chunk; nothing is in it yet."""
    batch_size = run_spec.training.batch_size
    sizes = STEPS_PER_CHUNK, batch_size, num_replicas, IMAGE_SIZE, IMAGE_SIZE
    return Chunk(
        inputs=torch.empty(sizes, device=device, dtype=dtype),
        labels=torch.empty(
            STEPS_PER_CHUNK, num_replicas, batch_size, device=device, dtype=torch.int64
        ),
        masks={
            name: torch.empty(
                num_replicas,
                STEPS_PER_CHUNK,
                batch_size,
                *shape,
                device=device,
                dtype=torch.bool,
            )
            for name, shape in dropout_shapes(run_spec).items()
        },
    )


def dropout_shapes(run_spec: RunSpec) -> dict[str, tuple[int, ...]]:
    """What each dropout layer of one network works on, by the layer's name: shapes of one image."""
    return {
        row.name: row.output_shape
        for row in layer_table(run_spec.network)
        if row.name.endswith("dropout")
    }


def draw_epoch(group: Group, num_images: int, epoch: int) -> EpochDraws:
    """Each replica's order of images and augmentation, as its seed alone would have them."""
    orders = [
        torch.randperm(num_images, generator=random_stream(seed, f"order.epoch{epoch}"))
        for seed in group.seeds
    ]
    if not group.recipe.augment:
        return EpochDraws(torch.stack(orders), None, None)
    draws = [
        draw_augmentation(num_images, seed, epoch, CPU)[order]
        for seed, order in zip(group.seeds, orders, strict=True)
    ]
    return EpochDraws(
        torch.stack(orders),
        torch.stack([draw.is_zoomed for draw in draws]),
        torch.stack([draw.angle_radians for draw in draws]),
    )


def mask_streams(group: Group, epoch: int) -> dict[str, list[torch.Generator]]:
    """For each dropout layer the random streams of its masks, one for each replica.

    They are on the device, which draws other numbers than a CPU would. A stream goes through the
    epoch's chunks in order, and in a chunk by step, image, channel, y and x: no other layer and no
    other replica has a part in it.
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
    group: Group, take_steps: Steps, images: Images, draws: EpochDraws, epoch: int
) -> None:
    """Show every replica every training image once, in its own order.

    `take_steps` is `train_steps` on this group, recorded or not. The epoch's sums are left in the
    group; a GPU may still be at work on them when this returns.
    """
    group.network.train()
    group.learning_rate.fill_(group.recipe.learning_rate_at(epoch))
    group.loss_sum.zero_()
    group.num_correct.zero_()
    draws = draws.to(images.pixels.device)
    streams = mask_streams(group, epoch)
    for first, num_steps, batch_size in chunks(len(images), group.recipe.batch_size):
        fill_chunk(group, images, draws, first, num_steps, batch_size)
        draw_masks(group, streams, num_steps, batch_size)
        take_steps(num_steps, batch_size)


def chunks(num_images: int, batch_size: int) -> Iterator[tuple[int, int, int]]:
    """An epoch as (first image, number of steps, batch size); the last batch may be smaller."""
    num_full = num_images // batch_size
    for step in range(0, num_full, STEPS_PER_CHUNK):
        yield step * batch_size, min(STEPS_PER_CHUNK, num_full - step), batch_size
    if num_images % batch_size:
        yield num_full * batch_size, 1, num_images % batch_size


def fill_chunk(
    group: Group, images: Images, draws: EpochDraws, first: int, num_steps: int, batch_size: int
) -> None:
    """Put the next batches of every replica into the chunk, augmented in one go."""
    num_replicas = len(group.seeds)

    def arrange(values: Tensor) -> Tensor:
        """From (replicas, images) to this chunk's (steps, batch, replicas)."""
        part = values[:, first : first + num_steps * batch_size]
        return part.reshape(num_replicas, num_steps, batch_size).permute(1, 2, 0)

    chosen = arrange(draws.image)
    augmentation = None
    if draws.is_zoomed is not None and draws.angle_radians is not None:
        augmentation = Augmentation(
            arrange(draws.is_zoomed).flatten(), arrange(draws.angle_radians).flatten()
        )
    inputs = prepare_pixels(images.pixels[chosen.flatten()], group.scale, augmentation)
    shape = num_steps, batch_size, num_replicas, IMAGE_SIZE, IMAGE_SIZE
    group.chunk.inputs[:num_steps, :batch_size] = inputs.view(shape)
    group.chunk.labels[:num_steps, :, :batch_size] = images.labels[chosen].transpose(1, 2)


def draw_masks(
    group: Group, streams: dict[str, list[torch.Generator]], num_steps: int, batch_size: int
) -> None:
    """Draw the chunk's dropout masks: what is kept, with each layer's probability."""
    for name, generators in streams.items():
        layer = group.network.get_submodule(name)
        assert isinstance(layer, WideDropout)
        for mask, generator in zip(group.chunk.masks[name], generators, strict=True):
            mask[:num_steps, :batch_size].bernoulli_(1 - layer.probability, generator=generator)


def train_steps(group: Group, num_steps: int, batch_size: int) -> None:
    """The first steps of the chunk, each on the batches' first images: what a GPU records."""
    chunk = group.chunk
    for step in range(num_steps):
        for name, masks in chunk.masks.items():
            group.network.get_submodule(name).mask = masks[:, step, :batch_size]
        labels = chunk.labels[step, :, :batch_size]
        logits = group.network(chunk.inputs[step, :batch_size])
        losses = replica_losses(logits, labels)
        # Each replica's loss depends on its own weights alone, so the sum's gradient is theirs.
        gradients = torch.autograd.grad(losses.sum(), group.parameters)
        descend(
            group.parameters,
            list(gradients),
            group.velocities,
            group.learning_rate,
            group.recipe.momentum,
        )
        group.loss_sum.add_(losses.detach() * batch_size)
        group.num_correct.add_((logits.detach().argmax(dim=2) == labels).sum(dim=1))


def replica_losses(
    logits: Float[Tensor, "replicas batch 10"], labels: Int64[Tensor, "replicas batch"]
) -> Float[Tensor, " replicas"]:
    """Each replica's mean cross entropy."""
    losses = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return losses.view(labels.shape).mean(dim=1)


@torch.no_grad()
def descend(
    parameters: list[Tensor],
    gradients: list[Tensor],
    velocities: list[Tensor],
    learning_rate: Float[Tensor, ""],
    momentum: float,
) -> None:
    """A step of gradient descent with momentum, by `torch.optim.SGD`'s formula.

    v <- momentum * v + gradient; w <- w - learning_rate * v. Written out because that optimiser
    reads its learning rate when a step is recorded, not when it is replayed, unless it is the
    fused one; and because its momentum begins with the first step that it sees, which must not
    happen in a recording.
    """
    torch._foreach_mul_(velocities, momentum)
    torch._foreach_add_(velocities, gradients)
    torch._foreach_sub_(parameters, torch._foreach_mul(velocities, learning_rate))


@torch.inference_mode()
def classify(group: Group, images: Images) -> Float[Tensor, "replicas images 10"]:
    """Every replica's logits for all the images, with dropout off."""
    group.network.eval()
    num_replicas = len(group.seeds)
    batch_size = max(1, TEST_IMAGES_AT_ONCE // num_replicas)
    logits = []
    for pixels in images.pixels.split(batch_size):
        inputs = prepare_pixels(pixels, group.scale).to(group.chunk.inputs.dtype)
        logits.append(group.network(inputs.expand(-1, num_replicas, -1, -1)))
    return torch.cat(logits, dim=1)
