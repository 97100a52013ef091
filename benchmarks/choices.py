"""The speed of each implementation choice: `python -m benchmarks.choices`

Each implementation of a training step (augmentation, forward, backward, optimiser) uses the
project's own parts, with one of them exchanged. All take turns; ratios are taken within a round.
"""

import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import click
import joblib
import torch

from ablations.records.atomic_io import write_json
from ablations.runner.run_one import describe_environment, utc_now
from benchmarks.implementations import BATCH_SIZE, Implementation, Work, all_implementations
from benchmarks.measurements import Choice, Choices, rotated_rounds, spread
from benchmarks.options import SETTINGS, out_option, rounds_option
from speed.arithmetic import keep_freed_memory


def _serve_timings(connection: Connection, keeps_memory: bool) -> None:
    """A process that times each implementation whose name it receives."""
    torch.set_num_threads(1)
    if keeps_memory:
        keep_freed_memory()
    implementations = {one.name: one for one in all_implementations()}
    prepared: dict[str, Work] = {}
    while (name := connection.recv()) is not None:
        if name not in prepared:
            prepared[name] = implementations[name].prepare()
            prepared[name]()  # Compiles, and warms up.
        started = time.perf_counter()
        prepared[name]()
        connection.send((time.perf_counter() - started) / implementations[name].count)


def measure(implementations: Sequence[Implementation], num_rounds: int) -> dict[str, list[float]]:
    """Seconds of one unit of each implementation, for each round."""
    context = multiprocessing.get_context("spawn")
    connections: dict[bool, Connection] = {}
    for keeps_memory in {one.keeps_memory for one in implementations}:
        connections[keeps_memory], other_end = context.Pipe()
        arguments = (other_end, keeps_memory)
        context.Process(target=_serve_timings, args=arguments, daemon=True).start()
    seconds: dict[str, list[float]] = {one.name: [] for one in implementations}
    for round_number, one in rotated_rounds(implementations, num_rounds + 1):
        connections[one.keeps_memory].send(one.name)
        elapsed = connections[one.keeps_memory].recv()
        if round_number > 1:  # The first round warms up.
            seconds[one.name].append(elapsed)
    for connection in connections.values():
        connection.send(None)
    return seconds


def summarise(
    implementations: Sequence[Implementation], seconds: dict[str, list[float]]
) -> list[Choice]:
    """Each implementation's time, and its speed relative to the one that it is compared with."""
    return [
        Choice(
            name=one.name,
            title=one.title,
            question_or_note=one.note,
            is_kept=one.is_kept,
            milliseconds=spread([1000 * value for value in seconds[one.name]]),
            unit=one.unit,
            compared_with=one.compared_with,
            ratio=spread(
                [
                    other / own
                    for own, other in zip(
                        seconds[one.name], seconds[one.compared_with], strict=True
                    )
                ]
            ),
        )
        for one in implementations
    ]


@click.command(context_settings=SETTINGS)
@rounds_option(7)
@out_option("choices.json")
def main(num_rounds: int, out: Path) -> None:
    """Time every choice in turn, about four minutes. Do not use the machine meanwhile."""
    implementations = all_implementations()
    choices = Choices(
        rows=summarise(implementations, measure(implementations, num_rounds)),
        batch_size=BATCH_SIZE,
        baseline_name="contiguous",
        num_rounds=num_rounds,
        num_usable_cores=joblib.cpu_count(),
        environment=describe_environment(torch.device("cpu")),
        measured_at=utc_now(),
    )
    write_json(out, choices)
    for row in choices.rows:
        click.echo(
            f"{row.title:62} {row.milliseconds.median:8.2f} ms  "
            f"{row.ratio.median:5.2f} x {row.compared_with}"
        )


if __name__ == "__main__":
    main()
