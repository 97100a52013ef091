"""What the supervisor and its worker processes send to each other, and the grader's errors."""

import msgspec

from ablations.catalogue.recipes import RecipeName

MAIN_GUARD = 'put what the file does when it is run below if __name__ == "__main__":'
"""Advice, for messages."""
MEMORY_LIMIT_GIB = 4
"""Of a worker process."""


class NetworkError(Exception):
    """The network cannot be checked; the message gives the reason in one line."""


class LimitError(NetworkError):
    """A limit of time or memory was reached, which is no verdict on the network."""


class UnknownNameError(Exception):
    """The file does not define the requested name: the command was misused."""


class NoGradeError(Exception):
    """The file gave no network, lacks something on this machine, or the data or the machine failed."""


ERROR_TYPES: dict[str, type[Exception]] = {
    error.__name__: error for error in (LimitError, NetworkError, UnknownNameError, NoGradeError)
}
"""By name, the least severe first."""


class WorkerTask(msgspec.Struct, frozen=True):
    """Inspect a network or, with a seed, train it."""

    file: str
    """Absolute path."""
    name: str
    num_epochs: int
    recipe: RecipeName
    dataset_name: str
    dataset_folder: str | None = None
    seed: int | None = None

    @property
    def activity(self) -> str:
        """What the task does, for messages."""
        return "inspection" if self.seed is None else f"training with seed {self.seed}"


class Inspection(msgspec.Struct, frozen=True):
    """What is known about a network before its training."""

    parameters: int
    frozen_parameters: int
    """Those that training does not change."""
    concepts: list[str]
    """Of `CONCEPTS`, those that its outputs depended on in training mode."""
    notes: list[str]
    """Hints for its author."""
    partial_average: str = ""
    """An average over a part of the pixels, where global average pooling is missing."""


class TrainedSeed(msgspec.Struct, frozen=True):
    """One training."""

    seed: int
    num_epochs: int
    accuracy_pct: float
    """Test accuracy after the last epoch."""
    has_diverged: bool


class WorkerMessage(msgspec.Struct, frozen=True):
    """The progress of a task or, in the last message, its result or error."""

    num_epochs_done: int
    inspection: Inspection | None = None
    trained: TrainedSeed | None = None
    error: str = ""
    error_type: str = ""
    """A key of `ERROR_TYPES`."""
