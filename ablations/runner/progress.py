"""Shows a study's progress: live on a terminal, as plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from ablations.catalogue.experiment import RunSpec
from ablations.runner.scheduler import EpochFinished, Event, RunFailed, RunFinished, RunStarted
from ablations.words import duration, plural


class StudyProgress:
    """What has been done of some runs, on the console.

    On a terminal: a bar for the whole, and a line for each run under way. Everywhere else (a
    file, a pipe, a CI log): one line for each finished run.
    """

    def __init__(self, console: Console, num_runs: int, num_epochs: int) -> None:
        self.console = console
        self.num_runs = num_runs
        self.num_epochs = num_epochs
        self.num_ended = 0
        self.epochs_done: dict[RunSpec, int] = {}
        self.epoch_seconds = 0.0
        """Of the slowest epoch so far."""
        self.started = time.monotonic()
        self.lines: dict[RunSpec, TaskID] = {}
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.total = self.bars.add_task("all epochs", total=num_runs * num_epochs, note="")

    @staticmethod
    @contextmanager
    def counting(console: Console, what: str, total: int) -> Iterator[Callable[[], None]]:
        """A bar for something that is only counted: yields the function that moves it on."""
        columns = TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn()
        # Drawn only between measurements: a thread that redraws would run inside them.
        with Progress(
            *columns,
            console=console,
            transient=True,
            auto_refresh=False,
            disable=not console.is_terminal,
        ) as bars:
            task = bars.add_task(what, total=total)

            def advance() -> None:
                bars.advance(task)
                bars.refresh()

            yield advance

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bars.stop()

    def show(self, event: Event) -> None:
        """Take notice of an event."""
        if isinstance(event, RunStarted):
            self.start_line(event.run_spec)
        elif isinstance(event, EpochFinished):
            self.move_line(event)
        else:
            self.end_line(event)
        self.bars.update(
            self.total,
            completed=sum(self.epochs_done.values()),
            note=f"{self.num_ended}/{self.num_runs} runs, {self.remaining()}",
        )

    def start_line(self, run_spec: RunSpec) -> None:
        """A run begins (or begins again, when its process died)."""
        self.remove_line(run_spec)
        self.epochs_done[run_spec] = 0
        self.lines[run_spec] = self.bars.add_task(
            label(run_spec), total=run_spec.training.num_epochs, note="starting"
        )

    def move_line(self, event: EpochFinished) -> None:
        """A run has finished an epoch."""
        self.epochs_done[event.run_spec] = event.epoch.epoch
        self.epoch_seconds = max(self.epoch_seconds, event.epoch.seconds)
        self.bars.update(
            self.lines[event.run_spec],
            completed=event.epoch.epoch,
            note=f"{event.epoch.test_accuracy_pct:.2f} %, {event.epoch.seconds:.1f} s an epoch",
        )

    def end_line(self, event: RunFinished | RunFailed) -> None:
        """A run is over: its line is replaced by one that stays."""
        self.remove_line(event.run_spec)
        self.num_ended += 1
        # An early end (divergence, failure) leaves no epochs to wait for.
        self.epochs_done[event.run_spec] = self.num_epochs
        place = f"[{self.num_ended}/{self.num_runs}] {label(event.run_spec)}"
        if isinstance(event, RunFailed):
            message = f"{place}: FAILED: {event.reason}"
        else:
            record = event.result.record
            message = f"{place}: {record.last_epoch.test_accuracy_pct:.2f} %"
            if record.status == "diverged":
                message += f", DIVERGED in epoch {record.last_epoch.epoch}"
            message += f" in {duration(record.wall_seconds)}; {self.remaining()}"
        self.console.print(message, highlight=False, markup=False, soft_wrap=True)

    def remove_line(self, run_spec: RunSpec) -> None:
        """Take a run's live line away, if it has one."""
        line = self.lines.pop(run_spec, None)
        if line is not None:
            self.bars.remove_task(line)

    def finishing_words(self) -> str:
        """After the first Ctrl-C: what is finished yet, and how to stop at once."""
        if not self.lines:
            return "Stopping ..."
        num_epochs = max(
            run_spec.training.num_epochs - self.epochs_done[run_spec] for run_spec in self.lines
        )
        known = self.epoch_seconds
        about = f" (about {duration(num_epochs * known)})" if known else ""
        return (
            f"Finishing the {plural(len(self.lines), 'run')} under way{about}, to keep "
            f"{'it' if len(self.lines) == 1 else 'them'}; Ctrl-C again stops at once."
        )

    def remaining(self) -> str:
        """How much longer, at the pace so far."""
        done = sum(self.epochs_done.values())
        left = self.num_runs * self.num_epochs - done
        if not done:
            return "time left not known yet"
        seconds = (time.monotonic() - self.started) / done * left
        return f"about {duration(seconds)} left" if left else "done"


def label(run_spec: RunSpec) -> str:
    """A run in a few words."""
    return f"{run_spec.ablation}, seed {run_spec.seed}"


def say(console: Console, text: str) -> None:
    """Print a line as it is: no wrapping, no colours read into it."""
    console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)
