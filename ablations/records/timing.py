"""The epoch times of a study: the file `timing.json` in its folder."""

from statistics import median

import msgspec

from ablations.catalogue.presets import TimingPlan
from ablations.records.checksums import SchemaVersion
from ablations.records.run import Environment

TIMING_FILE = "timing.json"


class EpochTime(msgspec.Struct, frozen=True):
    """Seconds for an epoch of training and a pass over the test images, once for each round."""

    digest: str
    """Digest of the spec that was timed: an ablation whose definition changes is timed again."""
    seconds_by_round: list[float]

    @property
    def median_seconds(self) -> float:
        """The median over the rounds."""
        return median(self.seconds_by_round)


class Timing(msgspec.Struct, frozen=True):
    """The epoch times of a study, and how they were measured."""

    by_ablation: dict[str, EpochTime]
    plan: TimingPlan
    environment: Environment
    measured_at: str
    """In UTC, as ISO 8601."""
    schema_version: SchemaVersion = 2
