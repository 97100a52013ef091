"""What each choice that makes a step quicker is worth: `python -m benchmarks.choices`

Each way of computing a training step (augmentation, forward, backward, optimiser) is built from
the project's own parts, with one of them exchanged. All take turns, for some rounds; ratios are
taken within a round.
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
from ablations.runner.run_one import describe_environment, use_one_thread, utc_now
from benchmarks.measurements import Choice, Choices, spread
from benchmarks.ways import BATCH_SIZE, Way, Work, all_ways
from speed.arithmetic import keep_freed_memory


def time_on_request(connection: Connection, keeps_memory: bool) -> None:
    """A process that prepares every way that it is asked for, and times it as often as asked."""
    use_one_thread()
    if keeps_memory:
        keep_freed_memory()
    ways = {way.name: way for way in all_ways()}
    prepared: dict[str, Work] = {}
    while (name := connection.recv()) is not None:
        if name not in prepared:
            prepared[name] = ways[name].prepare()
            prepared[name]()  # Compiles, and warms up.
        started = time.perf_counter()
        prepared[name]()
        connection.send((time.perf_counter() - started) / ways[name].count)


def measure(ways: Sequence[Way], num_rounds: int) -> dict[str, list[float]]:
    """Seconds of one unit of each way, for each round."""
    context = multiprocessing.get_context("spawn")
    connections: dict[bool, Connection] = {}
    for keeps_memory in (True, False):
        connections[keeps_memory], other_end = context.Pipe()
        context.Process(target=time_on_request, args=(other_end, keeps_memory), daemon=True).start()
    seconds: dict[str, list[float]] = {way.name: [] for way in ways}
    for round_number in range(num_rounds + 1):
        start = round_number % len(ways)
        for way in [*ways[start:], *ways[:start]]:
            connection = connections[way.keeps_memory]
            connection.send(way.name)
            taken = connection.recv()
            if round_number > 0:  # The first round warms up.
                seconds[way.name].append(taken)
        click.echo(f"round {round_number} of {num_rounds}", err=True)
    for connection in connections.values():
        connection.send(None)
    return seconds


def summarise(ways: Sequence[Way], seconds: dict[str, list[float]]) -> list[Choice]:
    """Each way's time, and how many times as fast it is as what it is compared with."""
    return [
        Choice(
            name=way.name,
            title=way.title,
            question_or_note=way.note,
            is_kept=way.is_kept,
            milliseconds=spread([1000 * value for value in seconds[way.name]]),
            unit=way.unit,
            compared_with=way.compared_with,
            ratio=spread(
                [
                    other / own
                    for own, other in zip(
                        seconds[way.name], seconds[way.compared_with], strict=True
                    )
                ]
            ),
        )
        for way in ways
    ]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(min=1), default=7, show_default=True)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs/bench/choices.json"),
    show_default=True,
)  # fmt: skip
def main(rounds: int, out: Path) -> None:
    """Time every choice in turn; about four minutes. Leave the machine alone meanwhile."""
    ways = all_ways()
    choices = Choices(
        rows=summarise(ways, measure(ways, rounds)),
        batch_size=BATCH_SIZE,
        baseline_name="contiguous",
        num_rounds=rounds,
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
