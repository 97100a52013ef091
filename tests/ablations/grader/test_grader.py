"""The grader: somebody's own network against the assignment."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ablations.analysis.requirements import CONCEPTS
from ablations.data.datasets import DataError
from ablations.grader.grade import Grade, Inspection, Problem, TrainedSeed, failed
from ablations.grader.grade import grade as grade_on
from ablations.grader.loader import load_network
from ablations.grader.protocol import MachineError, NetworkError, Task
from ablations.grader.supervisor import CheckRequest, check_network
from ablations.grader.worker import inspect_network
from cli import main

STUDENTS = Path(__file__).with_name("student_networks.py")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("student") / "my network.py"
    shutil.copy(STUDENTS, path)
    return path


def grade(network: str, looked: Inspection, runs: Sequence[TrainedSeed]) -> Grade:
    return grade_on(network, "mnist", max(run.num_epochs for run in runs), looked, runs)


def look(file: Path, name: str) -> Inspection:
    return inspect_network(Task(str(file), name, "", None, 1, "digits", None))


def request(
    file: Path, name: str, seeds: Sequence[int] = (0,), seconds: float = 200
) -> CheckRequest:
    return CheckRequest(file, name, seeds, 2, "digits", None, 2, seconds)


@pytest.mark.parametrize(
    "name",
    [
        "Layers",
        "Functions",
        "make",
        "MODULE",
        "SPEC",
        "Prints",
        "Products",
        "SideBySide",
        "Flat",
        "Axes",
        "Mean",
    ],
)
def test_concepts_are_found_however_they_are_written(file: Path, name: str) -> None:
    assert look(file, name).concepts == list(CONCEPTS)


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("Unused", list(CONCEPTS)),
        ("Discarded", list(CONCEPTS)),
        ("Centred", ["batch normalisation", "dropout", "global average pooling"]),
        ("NoDropout", ["dropout"]),
        ("DropoutIsOff", ["dropout"]),
        ("OneByOne", ["a fully connected layer"]),
    ],
)
def test_concepts_that_do_no_work_are_not_found(file: Path, name: str, missing: list[str]) -> None:
    found = look(file, name)
    assert [concept for concept in CONCEPTS if concept not in found.concepts] == missing
    result = grade("x", found, [TrainedSeed(0, 19, 99.5, False)])
    assert result.verdict == "fail"
    assert all(concept in result.requirements[1].measured for concept in missing)


def test_concepts_of_the_catalogue_are_those_of_its_specs(tmp_path: Path) -> None:
    path = tmp_path / "nets.py"
    path.write_text(
        "from ablations.catalogue.entries import CATALOGUE\n"
        "for entry in CATALOGUE:\n"
        "    globals()[entry.name.replace('-', '_')] = entry.network_spec\n"
    )
    assert look(path, "target").concepts == list(CONCEPTS)
    for name, concept in (
        ("no_batchnorm", "batch normalisation"),
        ("no_dropout", "dropout"),
        ("no_fc_head", "a fully connected layer"),
        ("no_gap", "global average pooling"),
    ):
        assert [one for one in CONCEPTS if one not in look(path, name).concepts] == [concept]
    assert look(path, "target").parameters == 18_962


def test_parameters_are_counted_with_the_frozen_ones(file: Path) -> None:
    found = look(file, "Large")
    assert found.parameters == 20_000 + look(file, "Layers").parameters
    assert found.frozen_parameters == 20_000
    requirement = grade("x", found, [TrainedSeed(0, 19, 99.5, False)]).requirements[0]
    assert requirement.verdict == "fail"
    assert "20,000 are not trained" in requirement.measured


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Nine", r"returns shape \(4, 9\); wanted \(4, 10\)"),
        ("Pair", "returns a tuple, not a tensor"),
        ("Infinite", "not finite"),
        ("Raises", "RuntimeError: shapes cannot be multiplied .my network.py, line"),
        ("Nothing", "it has no parameters of its own"),
        ("AllInAList", "no parameters of its own: layers in a list belong into an nn.ModuleList"),
        (
            "NothingMade",
            "AttributeError: 'NothingMade' object has no attribute 'fc' .my network.py, line",
        ),
        ("Unconnected", "nothing can be trained: no output depends on a parameter"),
        ("NeedsArgument", "calling NeedsArgument.. without arguments: TypeError"),
        ("Ends", "it ends the program .exit 7."),
        ("FIVE", "is of type int"),
        ("MyNet", "has no MyNet; it has Layers, Functions"),
        ("Layer", "has no Layer; did you mean Layers"),
    ],
)
def test_what_cannot_be_used_is_one_clear_line(file: Path, name: str, message: str) -> None:
    with pytest.raises(NetworkError, match=message) as error:
        look(file, name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nothing_of_this_name", "importing the file: ModuleNotFoundError"),
        ("def f(:", "importing the file: SyntaxError"),
        ("raise SystemExit", "it ends the program"),
    ],
)
def test_files_that_cannot_be_imported(tmp_path: Path, source: str, message: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(source)
    with pytest.raises(NetworkError, match=message):
        look(path, "Net")


def test_layers_in_a_plain_list_are_counted_and_told(file: Path) -> None:
    found = look(file, "InAList")
    extra = 8 * 200 * 9 + 200 + 200 * 8 * 9 + 8
    assert found.parameters == look(file, "Layers").parameters + extra
    assert found.frozen_parameters == extra
    assert "nn.ModuleList" in found.notes[0]


def test_one_image_alone_is_no_requirement(file: Path) -> None:
    [note] = look(file, "OnlyBatches").notes
    assert "one image alone cannot be classified: AssertionError: one image is too few" in note


def test_networks_that_find_their_sizes_or_view_their_memory_are_trained(file: Path) -> None:
    assert check_network(request(file, "Flat")).problem == ""


def test_hints_for_the_author(file: Path) -> None:
    assert "softmax" in look(file, "Probabilities").notes[0]
    assert "no output depends on" in look(file, "Unused").notes[-1]
    [note] = look(file, "DropoutStaysOn").notes
    assert "functional.dropout needs training=self.training" in note
    assert look(file, "Layers").notes == []


def test_a_network_is_trained_and_judged(file: Path) -> None:
    told: list[int] = []
    found = check_network(request(file, "Prints", seeds=(0, 1)), told.append)
    assert found.problem == ""
    assert [one.verdict for one in found.requirements[:3]] == ["pass"] * 3
    assert found.accuracy_pct is not None
    assert set(found.accuracy_pct.by_seed) == {0, 1}
    assert found.accuracy_pct.by_seed[0] != found.accuracy_pct.by_seed[1]
    assert found.inspection is not None
    assert any("prints" in note for note in found.inspection.notes)
    assert found.verdict == "undecided"
    assert "the assignment means MNIST" in found.requirements[-1].measured
    assert told == sorted(told)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Grade) == found


@pytest.mark.parametrize(
    ("name", "message", "verdict"),
    [
        ("Dies", "exit code 3 and without an answer", "fail"),
        ("Crashes", "crashed .SIGSEGV.", "fail"),
        ("RaisesLater", "training with seed [01]: ValueError: later .my network.py, line", "fail"),
        ("Sleeps", "it takes too long: ended after .*see --time-limit", "undecided"),
        (
            "HangsAtOnce",
            "ended after .* of classifying images of shape .* training mode$",
            "undecided",
        ),
        ("Greedy", "there is not enough memory .my network.py, line [0-9]+.$", "undecided"),
        (
            "GreedyLater",
            "training with seed [01]: there is not enough memory .*--jobs",
            "undecided",
        ),
        ("Killed", "killed, most likely for want of memory$", "undecided"),
    ],
)
def test_processes_that_go_wrong_end_in_one_clear_line(
    file: Path, name: str, message: str, verdict: str
) -> None:
    started = time.monotonic()
    found = check_network(request(file, name, seeds=(0, 1), seconds=20))
    assert found.verdict == verdict
    assert len(found.problem.splitlines()) == 1
    assert re.search(message, found.problem), found.problem
    assert time.monotonic() - started < 150


def test_a_network_that_diverges_is_told(file: Path) -> None:
    found = check_network(request(file, "Explodes"))
    assert found.requirements[2].measured == "trained for 2, or until it diverged"
    assert "diverged" in found.requirements[-1].measured


LOOKED = Inspection(18_962, 0, list(CONCEPTS), [])


def trained(*accuracies_pct: float, num_epochs: int = 19) -> list[TrainedSeed]:
    return [TrainedSeed(seed, num_epochs, a, False) for seed, a in enumerate(accuracies_pct)]


@pytest.mark.parametrize(
    ("runs", "verdict", "words"),
    [
        (trained(99.50, 99.52, 99.48), "pass", "mean of 3 seeds"),
        (trained(99.30, 99.32, 99.28), "fail", "95 % interval"),
        (trained(99.40, 99.45, 99.37), "undecided", "more seeds would decide"),
        (trained(99.60), "undecided", "one seed does not say"),
        (trained(99.60, 99.60), "undecided", "all seeds agree"),
        (trained(99.50, 99.52, 99.48, num_epochs=20), "fail", "mean of 3 seeds"),
    ],
)
def test_accuracy_is_judged_by_its_interval(
    runs: list[TrainedSeed], verdict: str, words: str
) -> None:
    found = grade("x", LOOKED, runs)
    assert found.verdict == verdict
    assert words in found.requirements[-1].measured


@given(st.lists(st.integers(9800, 10_000), min_size=1, max_size=9))
def test_grades_are_what_their_requirements_say(images_right: list[int]) -> None:
    found = grade("x", LOOKED, trained(*(images / 100 for images in images_right)))
    verdicts = [one.verdict for one in found.requirements]
    assert found.verdict == next(v for v in ("fail", "undecided", "pass") if v in verdicts)
    if found.accuracy_pct and found.accuracy_pct.interval_95:
        low, high = found.accuracy_pct.interval_95
        is_below = high < 99.4 or found.accuracy_pct.mean < 98.4
        expected = "pass" if low >= 99.4 else "fail" if is_below else "undecided"
        assert verdicts[-1] == expected


def test_a_limit_is_not_a_failure() -> None:
    assert failed("x", "mnist", 19, Problem("why")).verdict == "fail"
    assert failed("x", "mnist", 19, Problem("why", is_limit=True)).verdict == "undecided"
    runs = trained(99.50, 99.52, 99.48)
    found = grade_on("x", "mnist", 19, LOOKED, runs, Problem("too long", is_limit=True))
    assert found.verdict == "undecided"
    assert found.accuracy_pct is not None
    assert [one.verdict for one in found.requirements] == ["pass"] * 4 + ["undecided"]


def test_command(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "grade.json"
    arguments = ["check", f"{file}:Layers", "--dataset", "digits", "--epochs", "1", "--seeds", "0"]
    result = CliRunner().invoke(main, [*arguments, "--json", str(out)])
    assert result.exit_code == 3, result.output
    assert "guessing among ten classes" in result.output
    assert "the assignment means MNIST" in result.output
    content = json.loads(out.read_text())
    assert content["network"] == "my network.py:Layers"
    assert [one["verdict"] for one in content["requirements"]][:3] == ["pass"] * 3


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("net.py", "write the file and the name in it"),
        ("net.py:", "write the file and the name in it"),
        ("nowhere.py:Net", "there is no file 'nowhere.py'"),
    ],
)
def test_command_misused(argument: str, message: str) -> None:
    result = CliRunner().invoke(main, ["check", argument])
    assert result.exit_code == 2
    assert message in result.output


def weights(file: Path, name: str, seed: int) -> torch.Tensor:
    network = load_network(Task(str(file), name, "", seed, 1, "digits", None), seed)
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_a_seed_decides_the_initial_weights(file: Path, tmp_path: Path) -> None:
    seeded = tmp_path / "seeded.py"
    seeded.write_text("import torch\ntorch.manual_seed(42)\n" + file.read_text())
    for path in (file, seeded):
        assert weights(path, "Layers", 0).equal(weights(path, "Layers", 0))
        assert not weights(path, "Layers", 0).equal(weights(path, "Layers", 1))
    assert look(file, "MODULE").notes == []
    assert weights(seeded, "MODULE", 0).equal(weights(seeded, "MODULE", 1))
    assert "the same for every seed" in look(seeded, "MODULE").notes[0]


def test_a_machine_without_killing_signals_can_check(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("os.killpg")
    monkeypatch.delattr("signal.SIGKILL")
    monkeypatch.setattr("subprocess.Popen.kill", subprocess.Popen.terminate)
    assert check_network(request(file, "Layers")).problem == ""


def no_folder(tmp_path: Path, file: Path) -> CheckRequest:
    return replace(request(file, "Layers"), dataset_name="mnist", dataset_folder=tmp_path / "gone")


def test_what_is_wrong_with_the_machine_is_no_grade(file: Path, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="gone"):
        check_network(no_folder(tmp_path, file))


def raising(error: BaseException) -> Callable[..., None]:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "exit_code", "message"),
    [
        (DataError("MNIST is nowhere"), 4, "MNIST is nowhere"),
        (MachineError("the disk"), 4, "the disk"),
        (OSError(28, "No space left on device", "grade.json"), 4, "grade.json: No space left"),
        (KeyError("a bug"), 4, ""),
        (KeyboardInterrupt(), 130, "nothing was graded"),
    ],
)
def test_only_a_grade_has_the_exit_code_of_one(
    file: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, exit_code: int, message: str
) -> None:
    monkeypatch.setattr("ablations.grader.command.check_network", raising(error))
    monkeypatch.setattr(
        "ablations.grader.command.resolve_dataset", lambda *a, **k: ("digits", None)
    )
    result = CliRunner().invoke(main, ["check", f"{file}:Layers"])
    assert result.exit_code == exit_code
    assert message in result.output


def test_a_name_that_is_not_there_is_the_commands_mistake(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "grade.json"
    arguments = ["check", f"{file}:Layer", "--dataset", "digits", "--json", str(out)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "my network.py has no Layer; did you mean Layers?" in result.output
    assert not out.exists()


def test_every_requirement_stands_in_every_grade() -> None:
    wanted = [one.wanted for one in grade("x", LOOKED, trained(99.5)).requirements]
    assert len(wanted) == 4
    unseen = failed("x", "mnist", 19, Problem("why"))
    limited = grade_on("x", "mnist", 19, LOOKED, [], Problem("too long", is_limit=True))
    for found, num_measured in ((unseen, 0), (limited, 2)):
        assert [one.wanted for one in found.requirements[:4]] == wanted
        for one in found.requirements[num_measured:4]:
            assert (one.verdict, one.measured) == ("undecided", "not measured")
