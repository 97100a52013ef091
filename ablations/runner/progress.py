"""Shows a study's progress: live on a terminal, as plain lines elsewhere."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from ablations.catalogue.experiment import RunSpec
from ablations.runner.scheduler import EpochFinished, Event, RunFailed, RunFinished, RunStarted
from ablations.words import duration, plural


class StudyProgress(Progress):
    """The progress of a study's runs, as a context manager.

    On a terminal: a bar for all epochs, and one for each run under way. Elsewhere (a file, a pipe, a
    CI log): a line for each run that ends.
    """

    def __init__(self, console: Console, num_runs: int, num_epochs: int) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._num_runs = num_runs
        self._num_epochs = num_epochs
        self._num_ended = 0
        self._epochs_done: dict[RunSpec, int] = {}
        self._bars: dict[RunSpec, TaskID] = {}
        self._is_finishing, self._has_machines = False, True
        self._started = time.monotonic()
        self._total = self.add_task("all epochs", total=num_runs * num_epochs, note="")

    def show(self, event: Event) -> None:
        """Update the bars, and print a line when a run ends."""
        run_spec = event.run_spec
        if isinstance(event, RunStarted):  # For the first time, or again after its process died.
            self._remove_bar(run_spec)
            self._epochs_done[run_spec] = 0
            self._bars[run_spec] = self.add_task(
                _label(run_spec), total=self._num_epochs, note="starting"
            )
        elif isinstance(event, EpochFinished):
            epoch = event.epoch
            self._epochs_done[run_spec] = epoch.epoch
            note = f"{epoch.test_accuracy_pct:.2f} %, {epoch.seconds:.1f} s an epoch"
            self.update(self._bars[run_spec], completed=epoch.epoch, note=note)
        else:
            self._remove_bar(run_spec)
            self._num_ended += 1
            # A run that ends early (diverged, failed) has no epochs left.
            self._epochs_done[run_spec] = self._num_epochs
            place = f"[{self._num_ended}/{self._num_runs}] {_label(run_spec)}"
            print_line(self.console, f"{place}: {self._outcome(event)}")
        self.update(
            self._total,
            completed=sum(self._epochs_done.values()),
            note=f"{self._num_ended}/{self._num_runs} runs, {self._time_left()}",
        )

    def print_state(self, is_finishing: bool, has_machines: bool) -> None:
        """Print once what the study waits for after the first Ctrl-C, and without a machine."""
        if is_finishing and not self._is_finishing:
            runs = plural(len(self._bars), "run")
            words = f"Finishing the {runs} under way. Press Ctrl-C again to stop at once."
            print_line(self.console, words if self._bars else "Stopping ...")
        if self._has_machines and not has_machines:
            words = "The cluster has lost its last machine. Waiting for another to join ..."
            print_line(self.console, words)
        self._is_finishing, self._has_machines = is_finishing, has_machines

    def _outcome(self, event: RunFinished | RunFailed) -> str:
        if isinstance(event, RunFailed):
            return f"FAILED: {event.reason}"
        record = event.result.record
        last = record.last_epoch
        diverged = f", DIVERGED in epoch {last.epoch}" if record.status == "diverged" else ""
        took = duration(record.wall_seconds)
        return f"{last.test_accuracy_pct:.2f} %{diverged} in {took}; {self._time_left()}"

    def _remove_bar(self, run_spec: RunSpec) -> None:
        if run_spec in self._bars:
            self.remove_task(self._bars.pop(run_spec))

    def _time_left(self) -> str:
        num_done = sum(self._epochs_done.values())
        num_left = self._num_runs * self._num_epochs - num_done
        if not num_done:
            return "time left not known yet"
        seconds = (time.monotonic() - self._started) / num_done * num_left
        return f"about {duration(seconds)} left" if num_left else "done"


def make_console() -> Console:
    """A console on standard output that prints text as it is.

    Only a terminal gets live bars: rich would also draw them into a file if FORCE_COLOR is set.
    """
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return Console(
        force_terminal=is_terminal, markup=False, emoji=False, highlight=False, soft_wrap=True
    )


def print_line(console: Console, text: str) -> None:
    """Print text as it is: no wrapping, no markup, no colours."""
    console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)


def _label(run_spec: RunSpec) -> str:
    return f"{run_spec.ablation}, seed {run_spec.seed}"
