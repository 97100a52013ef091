"""What a worker process does with a student's file, here without the process."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch

from ablations.grader.loader import import_network, make_network
from ablations.grader.protocol import NetworkError, WorkerMessage, WorkerTask
from ablations.grader.worker import carry_out, inspect_network

StudentTask = Callable[..., WorkerTask]


def train(task: WorkerTask, send: Callable[[WorkerMessage], None] = print) -> WorkerMessage:
    """The last message of a training."""
    return carry_out(msgspec.structs.replace(task, seed=0), send)


FORWARD = "class Net(Layers):\n    def forward(self, x): "


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (FORWARD + "return x[:9, 0]", r"returns .*28\]\); return a tensor .*\(128, 10\)"),
        (FORWARD + "return x, x", "it returns tuple; return a tensor"),
        (FORWARD + "return super().forward(x) / 0", "returns infinite numbers or NaN"),
        (
            FORWARD + "raise OSError('a\\nb')",
            r"images of shape .*: OSError: a b .my network.py, line",
        ),
        (FORWARD + "return torch.ones(len(x), 10)", "cannot be trained, since its outputs"),
        (
            FORWARD + "raise MemoryError",
            r"more than 4 GiB of memory .my network.py, line \d+.; use smaller",
        ),
        (FORWARD + "raise SystemExit(7)", "SystemExit: 7 .my network.py, line"),
        (FORWARD + "return super().forward(x) if self.training else 1 / 0", "in evaluation mode"),
        ("class Net(Layers):\n    def eval(self): return 1 / 0", "ZeroDivisionError: .* line"),
    ],
)
def test_a_network_that_cannot_be_used_gives_one_clear_line(
    student_task: StudentTask, source: str, message: str
) -> None:
    with pytest.raises(NetworkError, match=message) as error:
        inspect_network(student_task("Net", source))
    assert "\n" not in str(error.value)


def test_parameters_that_are_not_trained_count(student_task: StudentTask) -> None:
    num_parameters = inspect_network(student_task("Layers")).parameters
    frozen = "Net = Layers()\nNet.extra = nn.Parameter(torch.zeros(20_000), requires_grad=False)"
    unregistered = f"layer = nn.Linear(10, 10)\n{FORWARD}return layer(super().forward(x))"
    for source, num_frozen in {frozen: 20_000, unregistered: 110}.items():
        inspection = inspect_network(student_task("Net", source))
        assert inspection.parameters == num_frozen + num_parameters
        assert inspection.frozen_parameters == num_frozen


@pytest.mark.parametrize(
    ("source", "note"),
    [
        (FORWARD + "return super().forward(x).softmax(1)", "softmax"),
        (FORWARD + "return super().forward(F.dropout(x, 0.1))", "training=self.training"),
        ("torch.manual_seed(42)\nNet = Layers()", "the same for every seed"),
        (f"layer = nn.Linear(10, 10)\n{FORWARD}return layer(super().forward(x))", "ModuleList"),
    ],
)
def test_notes_for_the_author(student_task: StudentTask, source: str, note: str) -> None:
    assert note in inspect_network(student_task("Net", source)).notes[0]


def test_a_seed_decides_the_initial_weights(student_task: StudentTask) -> None:
    def weights(task: WorkerTask, seed: int) -> torch.Tensor:
        network = make_network(import_network(task, seed), task, seed, batch_size=2)
        return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])

    for name, source in (("Layers", ""), ("MODULE", ""), ("Layers", "torch.manual_seed(42)")):
        task = student_task(name, source)
        assert weights(task, 0).equal(weights(task, 0))
        assert not weights(task, 0).equal(weights(task, 1))


def test_a_training_can_be_repeated_and_sends_progress(student_task: StudentTask) -> None:
    task, progress = student_task("Lazy"), []
    last = train(task, progress.append)
    assert last == train(task)
    assert last.trained
    assert last.num_epochs_done == last.trained.num_epochs == 1
    assert progress == [WorkerMessage(1)]


def test_training_stops_when_the_network_diverges_or_fails(student_task: StudentTask) -> None:
    grows = "return super().forward(x) * (1e30 if len(x) != 128 else 1) ** 2"
    task = msgspec.structs.replace(student_task("Net", forward=grows), num_epochs=2)
    trained = train(task).trained
    assert trained and trained.has_diverged
    in_a_list = "layers = [nn.Linear(784, 10)]\nclass Net(nn.Module):\n    def forward(self, x):"
    last = train(student_task("Net", f"{in_a_list} return layers[0](x.flatten(1))"))
    assert last.error_type == "NetworkError"
    assert last.error.startswith("training with seed 0: ValueError: optimizer got an empty")


def test_an_unknown_name_lists_the_names_of_the_file(student_task: StudentTask) -> None:
    last = carry_out(student_task("Layer"), lambda message: None)
    assert last.error_type == "UnknownNameError"
    assert last.error.startswith("my network.py does not define Layer; it defines Layers, Functio")


def test_an_error_of_the_machine_is_not_the_networks(
    student_task: StudentTask, tmp_path: Path
) -> None:
    task = msgspec.structs.replace(
        student_task("Layers"), dataset_name="mnist", dataset_folder=str(tmp_path / "gone")
    )
    last = train(task)
    assert last.error_type == "NoGradeError"
    assert "gone" in last.error
