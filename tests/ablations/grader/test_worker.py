"""What a worker process does with a student's file, here without the process."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch

from ablations.grader.loader import load_student_network
from ablations.grader.protocol import LimitError, NetworkError, WorkerMessage, WorkerTask
from ablations.grader.worker import carry_out, inspect_network

StudentTask = Callable[..., WorkerTask]


def train(task: WorkerTask, seed: int = 0) -> tuple[WorkerMessage, list[int]]:
    """The last message of a training, and the progress that it sent before."""
    messages: list[WorkerMessage] = []
    last = carry_out(msgspec.structs.replace(task, seed=seed), messages.append)
    return last, [message.num_epochs_done for message in messages]


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        ("return super().forward(x)[:, :9]", r"returns .*9\]\); return a tensor .*\(4, 10\)"),
        ("return super().forward(x), x", "it returns tuple; return a tensor"),
        ("return super().forward(x) / 0", "returns infinite numbers or NaN"),
        ("raise RuntimeError('sizes\\nsecond line')", r"RuntimeError: sizes .my network.py, line"),
        ("return self.fc(x)", "AttributeError: .* has no attribute 'fc' .my network.py, line"),
        ("return torch.ones(len(x), 10)", "cannot be trained, since its outputs"),
        ("raise SystemExit(7)", "SystemExit: 7 .my network.py, line"),
    ],
)
def test_a_network_that_cannot_be_used_gives_one_clear_line(
    student_task: StudentTask, forward: str, message: str
) -> None:
    with pytest.raises(NetworkError, match=message) as error:
        inspect_network(student_task("Net", forward=forward))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nothing_of_this_name", "importing the file: ModuleNotFoundError"),
        ("def f(:", "importing the file: SyntaxError"),
        ("raise SystemExit", "importing the file: SystemExit"),
        ("def Net(width): ...", r"calling Net\(\) without arguments: TypeError"),
        ("Net = 5", "Net has type int; it must be an nn.Module"),
        ("Net = AllInAList", "it has no parameters; put layers in an nn.ModuleList"),
    ],
)
def test_a_file_that_cannot_be_used_gives_one_clear_line(
    student_task: StudentTask, source: str, message: str
) -> None:
    with pytest.raises(NetworkError, match=message) as error:
        inspect_network(student_task("Net", source))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("statement", ["raise MemoryError", "torch.empty(2**50)"])
def test_lack_of_memory_is_a_limit(student_task: StudentTask, statement: str) -> None:
    with pytest.raises(LimitError, match=r"not enough memory .my network.py, line \d+.; use"):
        inspect_network(student_task("Net", forward=statement))


def test_parameters_that_are_not_trained_count(student_task: StudentTask) -> None:
    num_parameters = inspect_network(student_task("Layers")).parameters
    frozen = inspect_network(student_task("Frozen"))
    assert frozen.parameters == 20_000 + num_parameters
    assert frozen.frozen_parameters == 20_000
    in_a_list = inspect_network(student_task("InAList"))
    num_in_list = 8 * 200 * 9 + 200 + 200 * 8 * 9 + 8
    assert in_a_list.parameters == num_parameters + num_in_list
    assert in_a_list.frozen_parameters == num_in_list
    assert "nn.ModuleList" in in_a_list.notes[0]


def test_notes_for_the_author(student_task: StudentTask) -> None:
    softmax = student_task("Net", forward="return super().forward(x).softmax(1)")
    assert "softmax" in inspect_network(softmax).notes[0]
    dropout = student_task("Net", forward="return super().forward(F.dropout(x, 0.1))")
    assert "training=self.training" in inspect_network(dropout).notes[0]
    fixed = student_task("FIXED", "torch.manual_seed(42)\nFIXED = Layers()")
    assert "the same for every seed" in inspect_network(fixed).notes[0]


def test_a_seed_decides_the_initial_weights(student_task: StudentTask) -> None:
    def weights(task: WorkerTask, seed: int) -> torch.Tensor:
        network = load_student_network(task, seed)
        return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])

    for source in ("", "torch.manual_seed(42)"):
        task = student_task("Layers", source)
        assert weights(task, 0).equal(weights(task, 0))
        assert not weights(task, 0).equal(weights(task, 1))


def test_trainings_depend_on_the_seed_and_send_progress(student_task: StudentTask) -> None:
    task = student_task("Lazy")
    (first, progress), (again, _), (other, _) = train(task), train(task), train(task, seed=1)
    assert first.trained
    assert other.trained
    assert first == again
    assert first.trained.accuracy_pct != other.trained.accuracy_pct
    assert first.num_epochs_done == first.trained.num_epochs == 1
    assert progress == [1]


def test_training_stops_when_the_network_diverges_or_fails(student_task: StudentTask) -> None:
    grows = "return super().forward(x) * (1e30 if len(x) > 4 else 1) ** 2"
    task = msgspec.structs.replace(student_task("Net", forward=grows), num_epochs=2)
    last, _ = train(task)
    assert last.trained
    assert last.trained.has_diverged
    last, _ = train(student_task("Net", forward="return super().forward(x)[len(x) - 4:]"))
    assert last.error_type == "NetworkError"
    assert last.error.startswith("training with seed 0: ")


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
    last, _ = train(task)
    assert last.error_type == "MachineError"
    assert "gone" in last.error
