"""What the grader's command and its processes say to each other: a task, and its answer."""

import msgspec

from ablations.grading import Inspection, TrainedSeed


class NetworkError(Exception):
    """The network cannot be used; the message says why, in one line."""


class UnknownNameError(NetworkError):
    """The file has nothing of the name that was given: the command's mistake, not the network's."""


class Task(msgspec.Struct, frozen=True):
    """What one process does: look at a network or, with a seed, train it."""

    file: str
    name: str
    answer_file: str
    seed: int | None
    num_epochs: int
    dataset_name: str
    dataset_folder: str | None


class Answer(msgspec.Struct, frozen=True):
    """What came out of a task: a problem, an inspection or a training."""

    problem: str = ""
    is_unknown_name: bool = False
    """The problem is an `UnknownNameError`."""
    inspection: Inspection | None = None
    trained: TrainedSeed | None = None
    epochs_done: int = 0
    """While it is being trained."""
    schema_version: int = 1
