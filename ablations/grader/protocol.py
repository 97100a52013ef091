"""What the grader's command and its processes say to each other: a task, and its answer."""

from typing import Literal

import msgspec

from ablations.grader.grade import Inspection, TrainedSeed

NOT_WRITTEN = 74
"""Exit code of a process whose answer could not be written."""


class NetworkError(Exception):
    """The network cannot be used; the message says why, in one line."""


class LimitError(NetworkError):
    """It took more time or memory than there is, which is no verdict on the network."""

    def __init__(self, message: str, is_time: bool = False) -> None:
        super().__init__(message)
        self.is_time = is_time
        """Otherwise it was memory."""


class UnknownNameError(NetworkError):
    """The file has nothing of the name that was given: the command's mistake, not the network's."""


class MachineError(Exception):
    """The network could not be checked, for a reason that has nothing to do with it."""


ProblemKind = Literal["network", "memory", "unknown name", "machine"]
ERRORS: dict[ProblemKind, type[Exception]] = {
    "network": NetworkError,
    "memory": LimitError,
    "unknown name": UnknownNameError,
    "machine": MachineError,
}


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
    problem_kind: ProblemKind = "network"
    inspection: Inspection | None = None
    trained: TrainedSeed | None = None
    epochs_done: int = 0
    """While it is being trained."""
    doing: str = "importing the file and making the network"
    """While it is being looked at."""
