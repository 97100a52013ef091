"""A study's epoch times, as they are stored in `timing.json`."""

from statistics import median

import msgspec

from ablations.catalogue.presets import TimingPlan
from ablations.records.checksums import SCHEMA_VERSION
from ablations.records.run import Environment

TIMING_FILE = "timing.json"


class EpochTime(msgspec.Struct, frozen=True):
    """Seconds for an epoch of training and a pass over the test images, once for each round."""

    digest: str
    """Of the experiment that was timed: an ablation whose definition changes is timed again."""
    seconds_by_round: list[float]

    @property
    def median_seconds(self) -> float:
        """The middle of the rounds."""
        return median(self.seconds_by_round)


class Timing(msgspec.Struct, frozen=True):
    """A study's epoch times, and how they were measured."""

    by_ablation: dict[str, EpochTime]
    plan: TimingPlan
    environment: Environment
    measured_at: str
    """In UTC, as ISO 8601."""
    schema_version: int = SCHEMA_VERSION
