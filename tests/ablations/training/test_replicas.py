"""Groups of seeds: each replica trains as its seed does alone."""

import math
from dataclasses import replace
from functools import partial
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ablations.catalogue.entries import ENTRIES
from ablations.catalogue.experiment import RunSpec
from ablations.data.dataset import Dataset
from ablations.training import gpu_memory, replicas
from ablations.training.batches import load_images, prepare_pixels
from ablations.training.epoch import EpochRecord
from ablations.training.gpu_memory import train_as_fits
from ablations.training.loop import TrainedNetwork, prepare_training, train, train_epoch
from ablations.training.replicas import (
    STEPS_PER_CHUNK,
    ReplicaGroup,
    classify,
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
NETWORKS = [ablation.name for ablation in ENTRIES if ablation.kind != "training"]
every_network = pytest.mark.parametrize("name", NETWORKS)
close = torch.testing.assert_close
OUT_OF_MEMORY = torch.cuda.OutOfMemoryError("simulated")
CAPTURE_FAILED = RuntimeError("the capture's own error, after the first one")
CAPTURE_FAILED.__context__ = OUT_OF_MEMORY


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


def results(group: ReplicaGroup) -> list[object]:
    """All that training changes."""
    return [group.network.state_dict(), group.velocities, group.loss_sum, group.num_correct]


def masks_of_epoch(group: ReplicaGroup, num_images: int) -> dict[str, Tensor]:
    """The masks of the first epoch for each dropout layer: (replicas, images, *features)."""
    streams = mask_streams(group, epoch=1)
    drawn: dict[str, list[Tensor]] = {name: [] for name in streams}
    for _, num_steps, batch_size in split_into_chunks(num_images, group.recipe.batch_size):
        draw_masks(group, streams, num_steps, batch_size)
        for name, masks in group.chunk.masks.items():
            drawn[name].append(masks[:, :num_steps, :batch_size].flatten(1, 2).clone())
    return {name: torch.cat(parts, dim=1) for name, parts in drawn.items()}


ONE_CYCLE = {
    "drop_learning_rate_after": None, "warm_up": 0.3, "nesterov": True, "weight_decay": 0.1,
    "affine_strength": 1.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "changes"),
    [*((name, {}) for name in NETWORKS), ("no-momentum", {}), ("target", ONE_CYCLE)],
)
def test_replica_trains_as_its_seed_alone_in_the_plain_loop(
    digits: Dataset, name: str, changes: dict[str, object]
) -> None:
    # 13 full batches of 8 and one of 4: two chunks and the smaller batch.
    run_specs = with_recipe(seeds_of(digits, name, images=108), batch_size=8, **changes)
    group = train_in_float64(run_specs, digits)
    masks = masks_of_epoch(prepare_group(run_specs, digits, CPU, DOUBLE), num_images=108)
    images, test_images = load_images(digits, run_specs[0].training, CPU)
    logits = classify(group, test_images)

    for replica, run_spec in enumerate(run_specs):
        trainee = prepare_training(run_spec, digits, CPU)
        network = trainee.network.double()
        trainee = replace(trainee, classify=lambda inputs, net=network: net(inputs.double()))
        for layer_name, drawn in masks.items():
            steps = iter(drawn[replica].split(8))
            network.get_submodule(layer_name).register_forward_hook(
                lambda layer, inputs, _, steps=steps: (
                    inputs[0] * next(steps) / 0.9 if layer.training else None
                )
            )
        loss, num_correct = train_epoch(trainee, images, epoch=1)
        # The plain loop adds up losses in float32.
        assert group.loss_sum[replica].item() / 108 == pytest.approx(loss, rel=1e-6)
        assert group.num_correct[replica] == num_correct
        close(narrow(group.network, replica), network.state_dict(), rtol=1e-9, atol=1e-12)
        with torch.inference_mode():
            expected = network.eval()(prepare_pixels(test_images.pixels, trainee.scale).double())
        close(logits[replica], expected, rtol=1e-9, atol=1e-9)
    assert len(set(group.loss_sum.tolist())) == 3


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
        assert not ours.has_diverged
        for our_epoch, their_epoch in zip(ours.epochs, theirs.epochs, strict=True):
            assert our_epoch.epoch == their_epoch.epoch
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


@pytest.mark.parametrize("error", [OUT_OF_MEMORY, CAPTURE_FAILED], ids=str)
def test_group_that_does_not_fit_is_halved(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    sizes: list[int] = []
    networks = [object.__new__(TrainedNetwork) for _ in range(5)]

    def train_at_most_two(run_specs: list[RunSpec], *rest: object) -> list[TrainedNetwork]:
        sizes.append(len(run_specs))
        if len(run_specs) > 2:
            raise error
        return [networks[run_spec.seed] for run_spec in run_specs]

    monkeypatch.setattr(gpu_memory, "train_replicas", train_at_most_two)
    run_specs = seeds_of(digits, num_seeds=5)
    ended = [pair for part in train_as_fits(run_specs, digits, CPU) for pair in part]
    assert sizes == [5, 2, 2, 1]
    assert ended == list(zip(run_specs, networks, strict=True))


@pytest.mark.parametrize(
    ("error", "num_seeds"), [(OUT_OF_MEMORY, 1), (RuntimeError("something else"), 2)]
)
def test_other_errors_and_a_single_replica_are_not_retried(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch, error: Exception, num_seeds: int
) -> None:
    monkeypatch.setattr(gpu_memory, "train_replicas", Mock(side_effect=error))
    with pytest.raises(type(error), match=str(error)):
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
    ordinary, captured = (
        train_in_float64(run_specs, digits, device, epochs=3, is_captured=is_captured)
        for is_captured in (False, True)
    )
    close(results(captured), results(ordinary), rtol=1e-9, atol=1e-9)
    for replica, run_spec in enumerate(run_specs if name == "target" else ()):
        alone = train_in_float64([run_spec], digits, device, epochs=3, is_captured=True)
        weights = narrow(captured.network, replica), narrow(alone.network, 0)
        close(*weights, rtol=1e-8, atol=1e-10)
        close(captured.loss_sum[replica], alone.loss_sum[0], rtol=1e-8, atol=1e-10)


@needs_cuda
def test_gpu_is_the_cpu_without_dropout(digits: Dataset) -> None:
    # Dropout masks are drawn on the device; all else is drawn on the CPU.
    run_specs = seeds_of(digits, "no-dropout", images=600, epochs=2)
    device = torch.device("cuda")
    on_gpu = train_in_float64(run_specs, digits, device, epochs=2, is_captured=True)
    on_cpu = train_in_float64(run_specs, digits, epochs=2)
    # Not closer: rounding may change the nearest pixel of a rotated image.
    torch.testing.assert_close(on_gpu.loss_sum.cpu(), on_cpu.loss_sum, rtol=1e-2, atol=0)
