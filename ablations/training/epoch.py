"""The record of one epoch of training."""

import math

import msgspec


class EpochRecord(msgspec.Struct, frozen=True):
    """One epoch. A loss is None if it is not a finite number."""

    epoch: int
    learning_rate: float
    """In the middle of the epoch."""
    train_loss: float | None
    """Mean over the epoch's images, each with the weights of its own step."""
    train_accuracy_pct: float
    test_loss: float | None
    test_correct: int
    """Test images classified correctly after the epoch."""
    test_accuracy_pct: float
    seconds: float
    """Training and test; other runs may share the machine (see `runner/epoch_timing.py`)."""

    @property
    def has_diverged(self) -> bool:
        """Whether a loss is not a finite number, so that training ends here."""
        return self.train_loss is None or self.test_loss is None


def finite_or_none(value: float) -> float | None:
    """A number for a record: None if it is not finite."""
    return value if math.isfinite(value) else None
