"""Groups of seeds: each replica trains as its seed does alone."""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ablations.catalogue.entries import CATALOGUE
from ablations.catalogue.experiment import RunSpec
from ablations.data.dataset import Dataset
from ablations.training import gpu_memory, replicas
from ablations.training.batches import load_images
from ablations.training.epoch import EpochRecord
from ablations.training.gpu_memory import train_as_fits
from ablations.training.loop import TrainedNetwork, Trainee, prepare_training, train, train_epoch
from ablations.training.replicas import (
    STEPS_PER_CHUNK,
    ReplicaGroup,
    draw_epoch,
    draw_masks,
    mask_streams,
    prepare_group,
    split_into_chunks,
    train_group_epoch,
    train_replicas,
    train_steps,
)
from speed.gpu.capture import capture
from speed.gpu.wide import narrow
from tests.factories import run_specs_on

CPU = torch.device("cpu")
DOUBLE = torch.float64
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
every_network = pytest.mark.parametrize(
    "name", [ablation.name for ablation in CATALOGUE if ablation.kind != "training"]
)


def seeds_of(
    dataset: Dataset, name: str = "target", num_seeds: int = 3, images: int = 300, epochs: int = 1
) -> list[RunSpec]:
    return run_specs_on(dataset, name, num_seeds, epochs, images)


def with_recipe(run_specs: list[RunSpec], **changes: object) -> list[RunSpec]:
    return [
        replace(run_spec, training=replace(run_spec.training, **changes))  # type: ignore[arg-type]
        for run_spec in run_specs
    ]


def train_in_float64(
    run_specs: list[RunSpec],
    dataset: Dataset,
    device: torch.device = CPU,
    epochs: int = 1,
    is_captured: bool = False,
) -> ReplicaGroup:
    group = prepare_group(run_specs, dataset, device, DOUBLE)
    images, _ = load_images(dataset, run_specs[0].training, device)
    take_steps = partial(train_steps, group)
    if is_captured:
        take_steps = capture(take_steps, device)  # type: ignore[assignment]
    for epoch in range(1, epochs + 1):
        train_group_epoch(group, take_steps, images, draw_epoch(group, len(images), epoch), epoch)
    return group


def assert_replicas_agree(
    group: ReplicaGroup,
    replica: int,
    other: ReplicaGroup,
    other_replica: int,
    rtol: float,
    atol: float,
) -> None:
    ours, theirs = narrow(group.network, replica), narrow(other.network, other_replica)
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=rtol, atol=atol, msg=name)
    torch.testing.assert_close(
        group.loss_sum[replica], other.loss_sum[other_replica], rtol=rtol, atol=atol
    )
    assert group.num_correct[replica] == other.num_correct[other_replica]


@every_network
def test_replica_is_its_seed_alone(digits: Dataset, name: str) -> None:
    # Two full batches and a smaller one, with augmentation and dropout.
    run_specs = with_recipe(seeds_of(digits, name, images=75), batch_size=32)
    together = train_in_float64(run_specs, digits)
    for replica, run_spec in enumerate(run_specs):
        alone = train_in_float64([run_spec], digits)
        assert_replicas_agree(together, replica, alone, 0, rtol=1e-9, atol=1e-12)
    assert len(set(together.loss_sum.tolist())) == 3


def in_double(trainee: Trainee) -> Trainee:
    """The same trainee, whose network computes in float64 from its float32 inputs."""

    class ToDouble(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs.double()

    # The optimiser holds the same parameters, which change their type in place.
    network = nn.Sequential(ToDouble(), trainee.network.double())
    return replace(trainee, network=network, classify=network)


ONE_CYCLE = {
    "drop_learning_rate_after": None, "warm_up": 0.3, "nesterov": True, "weight_decay": 0.1, "affine_strength": 1.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "changes"),
    [("target", {}), ("target", ONE_CYCLE), ("no-momentum", {}), ("no-fc-head", ONE_CYCLE)],
)
def test_group_of_one_is_the_plain_loop(
    digits: Dataset, name: str, changes: dict[str, object]
) -> None:
    # 13 full batches of 20 and one of 4: two chunks and the smaller batch.
    run_specs = with_recipe(seeds_of(digits, name, 1, images=264), batch_size=20, **changes)
    group = train_in_float64(run_specs, digits)

    trainee = in_double(prepare_training(run_specs[0], digits, CPU))
    masks = same_masks(prepare_group(run_specs, digits, CPU, DOUBLE), num_images=264)
    for layer_name, layer in trainee.network.named_modules():
        if isinstance(layer, nn.Dropout):
            drawn = masks[layer_name.removeprefix("1.")]
            layer.forward = lambda inputs, drawn=drawn: inputs * next(drawn) / 0.9  # type: ignore
    images, _ = load_images(digits, run_specs[0].training, CPU)
    loss, num_correct = train_epoch(trainee, images, epoch=1)

    assert group.loss_sum.item() / 264 == pytest.approx(loss, rel=1e-6)  # summed in float32 there
    assert group.num_correct.item() == num_correct
    alone = trainee.network[1].state_dict()  # type: ignore[index,union-attr,operator]
    for parameter_name, tensor in narrow(group.network, 0).items():
        torch.testing.assert_close(tensor, alone[parameter_name], rtol=1e-9, atol=1e-12)


def same_masks(group: ReplicaGroup, num_images: int) -> dict[str, Iterator[Tensor]]:
    """The masks of a single replica's first epoch, step by step, for each dropout layer."""
    streams = mask_streams(group, epoch=1)
    steps: dict[str, list[Tensor]] = {name: [] for name in streams}
    for _, num_steps, batch_size in split_into_chunks(num_images, group.recipe.batch_size):
        draw_masks(group, streams, num_steps, batch_size)
        for name, masks in group.chunk.masks.items():
            steps[name] += masks[0, :num_steps, :batch_size].clone()
    return {name: iter(masks) for name, masks in steps.items()}


def test_dropout_keeps_its_share_and_differs_by_replica_layer_and_epoch(digits: Dataset) -> None:
    group = prepare_group(seeds_of(digits, num_seeds=2), digits, CPU)
    drawn = []
    for epoch in (1, 2):
        draw_masks(group, mask_streams(group, epoch), STEPS_PER_CHUNK, 128)
        drawn.append({name: masks.clone() for name, masks in group.chunk.masks.items()})
    assert sorted(drawn[0]) == ["head.dropout", "stage1.dropout", "stage2.dropout"]
    for name, masks in drawn[0].items():
        assert masks.float().mean().item() == pytest.approx(0.9, abs=0.01)
        assert not torch.equal(masks[0], masks[1])
        assert not torch.equal(masks, drawn[1][name])


def test_records_are_those_of_the_plain_loop(digits: Dataset) -> None:
    run_specs = seeds_of(digits, "no-dropout", 2, images=256, epochs=4)
    reported: list[tuple[RunSpec, EpochRecord]] = []
    trained = train_replicas(
        run_specs, digits, CPU, lambda run_spec, record: reported.append((run_spec, record))
    )
    for run_spec, ours in zip(run_specs, trained, strict=True):
        theirs = train(run_spec, digits, CPU)
        assert [record for other, record in reported if other == run_spec] == ours.epochs
        assert [epoch.epoch for epoch in ours.epochs] == [1, 2, 3, 4]
        assert not ours.has_diverged
        for our_epoch, their_epoch in zip(ours.epochs, theirs.epochs, strict=True):
            assert our_epoch.learning_rate == their_epoch.learning_rate
            # Float32, and eight steps in which rounding errors grow.
            assert our_epoch.train_loss == pytest.approx(their_epoch.train_loss, rel=1e-3)
            assert our_epoch.test_loss == pytest.approx(their_epoch.test_loss, rel=1e-2)
            assert our_epoch.test_correct == pytest.approx(their_epoch.test_correct, abs=4)
        assert ours.network.state_dict().keys() == theirs.network.state_dict().keys()
        assert ours.test_result.num_correct == ours.epochs[-1].test_correct


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_cuda)])
def test_divergence_ends_one_replica_and_leaves_the_others(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    run_specs = seeds_of(digits, images=128, epochs=3)
    undisturbed = train_replicas(run_specs, digits, torch.device(device))
    real = replicas.prepare_group

    def spoil(*arguments: object, **options: object) -> ReplicaGroup:
        group = real(*arguments, **options)  # type: ignore[arg-type]
        with torch.no_grad():  # the second replica's first convolution
            group.parameters[0].unflatten(0, (3, -1))[1] = math.nan
        return group

    monkeypatch.setattr(replicas, "prepare_group", spoil)
    reported: list[tuple[int, int]] = []
    trained = train_replicas(
        run_specs,
        digits,
        torch.device(device),
        lambda run_spec, record: reported.append((run_spec.seed, record.epoch)),
    )
    assert [len(result.epochs) for result in trained] == [3, 1, 3]
    assert [result.has_diverged for result in trained] == [False, True, False]
    assert trained[1].epochs[0].train_loss is None
    assert (1, 2) not in reported
    assert trained[1].network.get_submodule("stage1.block1.bn").num_batches_tracked == 1
    for replica in (0, 2):
        for ours, theirs in zip(trained[replica].epochs, undisturbed[replica].epochs, strict=True):
            assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-3)
            assert ours.test_correct == pytest.approx(theirs.test_correct, abs=4)


def test_only_seeds_of_one_experiment_are_a_group(digits: Dataset) -> None:
    mixed = [seeds_of(digits)[0], seeds_of(digits, "no-gap")[1]]
    with pytest.raises(ValueError, match=r"'no-gap', seed 1 differs from 'target', seed 0"):
        train_replicas(mixed, digits, CPU)


@pytest.mark.parametrize(
    ("num_images", "expected"),
    [
        (60_000, [(i * 12 * 128, 12, 128) for i in range(39)] + [(468 * 128, 1, 96)]),
        (1437, [(0, 11, 128), (1408, 1, 29)]),
        (13 * 128, [(0, 12, 128), (1536, 1, 128)]),
        (100, [(0, 1, 100)]),
    ],
)
def test_chunks_cover_an_epoch(num_images: int, expected: list[tuple[int, int, int]]) -> None:
    assert list(split_into_chunks(num_images, 128)) == expected


@pytest.mark.parametrize("is_capturing", [False, True])
def test_group_that_does_not_fit_is_halved(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch, is_capturing: bool
) -> None:
    sizes: list[int] = []

    networks = [object.__new__(TrainedNetwork) for _ in range(5)]

    def train_at_most_two(run_specs: list[RunSpec], *rest: object) -> list[TrainedNetwork]:
        sizes.append(len(run_specs))
        try:
            if len(run_specs) > 2:
                raise torch.cuda.OutOfMemoryError("simulated")
        finally:
            if is_capturing and len(run_specs) > 2:
                raise RuntimeError("capture failed")
        return [networks[run_spec.seed] for run_spec in run_specs]

    monkeypatch.setattr(gpu_memory, "train_replicas", train_at_most_two)
    run_specs = seeds_of(digits, num_seeds=5)
    ended = list(train_as_fits(run_specs, digits, CPU))
    assert sizes == [5, 2, 2, 1]
    assert [run_spec for part in ended for run_spec, _ in part] == run_specs
    assert all(trained is networks[run_spec.seed] for part in ended for run_spec, trained in part)


@pytest.mark.parametrize(
    ("error", "num_seeds"),
    [(torch.cuda.OutOfMemoryError("simulated"), 1), (RuntimeError("something else"), 2)],
)
def test_other_errors_and_a_single_replica_are_not_retried(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch, error: Exception, num_seeds: int
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(gpu_memory, "train_replicas", fail)
    with pytest.raises(type(error)):
        list(train_as_fits(seeds_of(digits, num_seeds=num_seeds), digits, CPU))


@every_network
def test_steps_can_be_captured(digits: Dataset, name: str) -> None:
    # What a GPU cannot capture: reading a number from it, sizes that depend on one, random draws,
    # and new tensors with values from Python.
    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            called.add(operation.overloadpacket.__name__)
            return operation(*args, **(kwargs or {}))

    called: set[str] = set()
    run_specs = with_recipe(seeds_of(digits, name, num_seeds=2), batch_size=8)
    group = prepare_group(run_specs, digits, CPU)
    draw_masks(group, mask_streams(group, 1), STEPS_PER_CHUNK, 8)
    group.chunk.inputs.normal_()
    group.chunk.labels.zero_()
    with Watch():
        train_steps(group, 2, 8)
    assert {"convolution", "convolution_backward", "_foreach_sub_"} <= called
    forbidden = {"_local_scalar_dense", "nonzero", "item", "lift_fresh", "native_dropout"}
    assert not called & (forbidden | {"bernoulli", "bernoulli_", "rand", "scalar_tensor"})


@needs_cuda
@every_network
def test_captured_steps_are_the_ordinary_ones(digits: Dataset, name: str) -> None:
    # Three epochs of two chunks and a smaller batch: called, captured and replayed, and the
    # learning rate drops to a tenth after the second.
    device = torch.device("cuda")
    run_specs = with_recipe(seeds_of(digits, name, images=500, epochs=3), batch_size=20)
    groups = [
        train_in_float64(run_specs, digits, device, epochs=3, is_captured=is_captured)
        for is_captured in (False, True)
    ]
    for replica in range(3):
        assert_replicas_agree(groups[0], replica, groups[1], replica, rtol=1e-9, atol=1e-9)
    for one, other in zip(groups[0].velocities, groups[1].velocities, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    for replica, run_spec in enumerate(run_specs if name == "target" else ()):
        alone = train_in_float64([run_spec], digits, device, epochs=3, is_captured=True)
        assert_replicas_agree(groups[1], replica, alone, 0, rtol=1e-8, atol=1e-10)


@needs_cuda
def test_gpu_is_the_cpu_without_dropout(digits: Dataset) -> None:
    # Dropout masks are drawn on the device; all else is drawn on the CPU.
    run_specs = seeds_of(digits, "no-dropout", images=600, epochs=2)
    device = torch.device("cuda")
    on_gpu = train_in_float64(run_specs, digits, device, epochs=2, is_captured=True)
    on_cpu = train_in_float64(run_specs, digits, epochs=2)
    # Not closer: rounding may change the nearest pixel of a rotated image.
    torch.testing.assert_close(on_gpu.loss_sum.cpu(), on_cpu.loss_sum, rtol=1e-2, atol=0)
