"""The command line: parses, calls and prints. The work is done in `ablations` and `reports`."""

from ablations.runner.signals import end_program, set_handlers

if __name__ == "__main__":
    set_handlers(end_program)

import sys
import webbrowser
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import click

from ablations.catalogue.ablation import Ablation
from ablations.catalogue.designs import CORE, Design, design_ablations
from ablations.catalogue.entries import CATALOGUE, entries_under
from ablations.commands.options import (
    AT_LEAST_ONE,
    FILE,
    FOLDER,
    PATH,
    GradingCommand,
    Number,
    ablate_options,
    choice_option,
    clear_errors,
    data_dir_option,
    dataset_option,
    effects_option,
    parse_ablation,
    parse_network,
    recipe_option,
    seeds_option,
)
from ablations.commands.output import CommandLine
from ablations.version import VERSION
from ablations.words import plural


@click.group(
    cls=CommandLine,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "show_default": True,
    },
)
@click.version_option(VERSION, prog_name="mnist-ablations")
def main() -> None:
    """Measure what each ingredient of a 19,000-parameter MNIST network contributes, by removing it.

    \b
    Examples:
      python cli.py ablate --preset quick      a first report, in a few minutes
      python cli.py ablate --all               the target and all ablations, 5 seeds
      python cli.py show no-gap                what an ablation changes

    Exit code 141: standard output was closed too early; 4: it could not be written. Files are complete.
    """


@main.command()
@ablate_options
@clear_errors
def ablate(
    names: tuple[Ablation, ...], all_ablations: bool, design: Design, **options: Any
) -> None:
    """Train the target network and its ablations, and write a report.

    The target is always included, because every result is a difference from it. To continue after
    an interruption, run the same command again: finished runs are kept.

    \b
    Examples:
      python cli.py ablate --preset quick
      python cli.py ablate --all
      python cli.py ablate --all --until-decided
      python cli.py ablate no-batchnorm no-dropout --seeds 0-4
      python cli.py ablate --design ladder batchnorm dropout augmentation
      python cli.py ablate --all --seeds 0-29 --shard 3/8
    """
    if all_ablations and names:
        raise click.UsageError("give either names or --all, not both")
    if options["backend"] != "ray" and (options["ray_address"] or options["gpus_per_task"] != 1):
        raise click.UsageError("--ray-address and --gpus-per-task need --backend ray")
    has_default = design != "leave-one-out" or options["preset_name"] == "quick"
    if not (all_ablations or names or has_default):
        raise click.UsageError("nothing to run: name ablations, or give --all (see cli.py list)")
    with_retuned = options.pop("with_retuned")
    if with_retuned and not (all_ablations and options["recipe"] == "tuned"):
        raise click.UsageError("--retuned needs --all and the tuned recipe")
    entries = entries_under(options["recipe"], with_retuned=with_retuned)
    uses_core = design != "leave-one-out" and not all_ablations
    try:
        ablations = design_ablations(design, names or (CORE if uses_core else entries))
    except ValueError as error:
        raise click.UsageError(str(error)) from error

    from ablations.commands.prepare import StudyRequest
    from ablations.commands.run_study import run_study
    from reports.documents.write import write_report

    sys.exit(run_study(StudyRequest(ablations=ablations, **options), write_report))


@main.command("list")
def list_ablations() -> None:
    """List all ablations, and what each removes from the target.

    \b
    Example:
      python cli.py list
    """
    width = max(len(ablation.name) for ablation in CATALOGUE)
    for ablation in CATALOGUE:
        removed = f"without {ablation.removes}" if ablation.kind != "target" else "nothing removed"
        core = "  (a concept of the assignment)" if ablation.is_core else ""
        click.echo(f"{ablation.name:<{width}}  {removed}{core}")


@main.command()
@click.argument("ablation", type=parse_ablation, metavar="NAME")
def show(ablation: Ablation) -> None:
    """Show what an ablation changes, and its network layer by layer.

    \b
    Example:
      python cli.py show no-gap-matched
    """
    from reports.text.terminal import ablation_text

    click.echo(ablation_text(ablation))


@main.command()
@click.argument("study_dir", type=PATH, metavar="RUN_DIR")
@click.argument("others", nargs=-1, type=PATH, metavar="[OTHER_DIR]...")
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@data_dir_option
@clear_errors
def report(study_dir: Path, others: tuple[Path, ...], opens: bool, data_dir: Path | None) -> None:
    """Write a study's report again from its records.

    This writes report.html, and report.md as a summary for a pull request, into RUN_DIR. Missing
    measurements on its networks are added if weights and data set are available. With other studies,
    of other data or another recipe, the page shows which effects agree.

    \b
    Examples:
      python cli.py report runs/mnist --open
      python cli.py report runs/mnist runs/fashion-mnist
    """
    from ablations.analysis.summary import summarise
    from ablations.inspection.load import load_exhibits
    from ablations.records.study import load_study
    from reports.documents.write import write_results

    folders = (study_dir, *others)
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise click.UsageError("the same study is given twice")
    study, *compared = studies = [load_study(folder) for folder in folders]
    exhibits = load_exhibits(study_dir, study)
    if not exhibits.is_complete:
        from ablations.inspection.build import complete_exhibits

        complete_exhibits(study_dir, study, data_dir, click.echo)
        exhibits = load_exhibits(study_dir, study)
    out = write_results(summarise(study), exhibits, study_dir, [summarise(one) for one in compared])
    click.echo(f"Report: {out}")
    if opens and not webbrowser.open(out.resolve().as_uri()):
        click.echo("No browser could be started; open that file yourself.", err=True)
    _exit_with_problems(problem for one in studies for problem in one.problems)


@main.command()
@click.argument("parts", nargs=-1, required=True, type=PATH, metavar="RUN_DIR...")
@click.option("--out", required=True, type=FOLDER, help="Folder of the merged study.")
@clear_errors
def merge(parts: tuple[Path, ...], out: Path) -> None:
    """Copy the runs of a study's parts into one folder.

    Every run is verified. Parts of different studies are refused, and runs that the folder contains
    are not replaced, so you can run the same command again when a part has more runs.

    Then run the command that made the parts, with this --out and without --shard. It trains
    missing runs, times the epochs and writes the report.

    \b
    Example:
      python cli.py merge runs/mnist-shard-* --out runs/mnist
    """
    from ablations.records.merge import merge_studies

    found = merge_studies(parts, out)
    click.echo(
        f"{plural(found.num_copied, 'run')} copied to {out}/, {found.num_present:,} were there already. "
        f"For a report on them: python cli.py report {out}"
    )
    _exit_with_problems(found.problems)


@main.command()
@click.argument("study_dir", type=PATH, metavar="RUN_DIR")
@click.option("--networks", type=click.IntRange(0), default=1, help="Seeds whose networks to pack.")
@clear_errors
def pack(study_dir: Path, networks: int) -> None:
    """Pack a study's runs into RUN_DIR/runs.zip. Every command restores missing runs from it.

    \b
    Example:
      python cli.py pack runs/mnist
    """
    from ablations.records.packed import pack
    from ablations.records.study import load_study

    click.echo(f"{pack(study_dir, load_study(study_dir).records, networks)}")


@main.command()
@click.argument("ablations", nargs=2, type=parse_ablation, metavar="A B")
@click.argument("study_dir", type=PATH, metavar="RUN_DIR")
@clear_errors
def compare(ablations: tuple[Ablation, ...], study_dir: Path) -> None:
    """Compare two ablations of a study: A minus B, with an interval and a verdict.

    \b
    Example:
      python cli.py compare no-gap no-gap-matched runs/mnist
    """
    from ablations.analysis.comparison import compare_ablations
    from ablations.records.study import load_study
    from reports.text.answer import notices
    from reports.text.terminal import comparison_text

    study, names = load_study(study_dir), [ablation.name for ablation in ablations]
    if names[0] == names[1]:
        raise click.UsageError(f"'{names[0]}' is given twice; name two ablations")
    found = compare_ablations(study, *names)
    click.echo(comparison_text(names, found, study.spec.margin_pct))
    for line in notices(study.spec, study.records):
        click.echo(f"Please note: {line}", err=True)
    _exit_with_problems(study.problems)


@main.command()
@click.argument("study_dir", type=PATH, metavar="[RUN_DIR]", required=False)
@effects_option
@click.option("--power", type=Number(0.05, 0.999), default=0.8, help="Probability of deciding it.")
@clear_errors
def plan(study_dir: Path | None, effects: list[float], power: float) -> None:
    """Estimate how many seeds decide if an effect is larger than the margin.

    `ablate --dry-run` estimates how long a study takes. The standard deviation over seeds is taken from RUN_DIR, by default from the reference study in
    docs/reference.

    \b
    Examples:
      python cli.py plan --effect 0.05 --power 0.8
      python cli.py plan runs/mnist --effect 0.2
    """
    from ablations.analysis.power import plan_seeds
    from ablations.records.study import load_study
    from reports.text.terminal import plan_text

    reference = Path(__file__).resolve().parent / "docs" / "reference"
    if not (study_dir or reference.exists()):
        raise click.UsageError("name a RUN_DIR: an installed package has no reference study")
    study = load_study(study_dir or reference)
    click.echo(plan_text(plan_seeds(study, effects, power), study, power))


def start_json(
    context: click.Context, option: click.Parameter, json_file: Path | None
) -> Path | None:
    """Replace an earlier grade."""
    if json_file:
        from ablations.grader.command import replace_grade

        replace_grade(json_file)
    return json_file


@main.command(cls=GradingCommand)
@click.argument("network", type=parse_network, metavar="FILE.py:NAME")
@seeds_option("Seeds to train with, such as 0-4 or 0,3,7.", default="0-4")
@click.option(
    "--epochs", "num_epochs", type=AT_LEAST_ONE, default=19, help="Fewer than 20 are required."
)
@click.option(
    "--time-limit", type=Number(0, min_open=True), default=60, help="Minutes for all trainings."
)
@click.option(
    "--jobs", "num_jobs", type=AT_LEAST_ONE, help="Trainings at a time. [default: CPU cores]"
)
@click.option(
    "--json",
    "json_file",
    type=FILE,
    callback=start_json,
    help="Also write the grade to this file.",
)
@choice_option(
    "--requirements wording",
    ("fc-and-gap", "fc-or-gap", "no-fc"),
    "Concepts that the course requires besides batch normalisation and dropout: a fully connected "
    "layer and global average pooling, one of them, or the second without the first.",
)
@recipe_option
@dataset_option
@data_dir_option
@clear_errors
def check(
    network: tuple[Path, str], time_limit: float, json_file: Path | None, **options: Any
) -> None:
    """Check your own network against the assignment.

    NAME in FILE.py, or a notebook, is an nn.Module, a NetworkSpec, or a class or function that can be called without
    arguments and returns an nn.Module. The command runs the file, in separate processes with limits of time and memory.
    This is no sandbox: check only files that you would run yourself.

    The network trains once for each seed, in one thread. Exit codes: 0 pass,
    1 fail, 3 undecided (too few seeds, a limit of time or memory, or not MNIST); without a grade: 2
    misused command, 4 the file gives no network here, or problem with the data or the machine. If the
    output was lost, 141 (closed pipe) or 4; --json has the grade.

    \b
    Examples:
      python cli.py check my_network.py:MyNet
      python cli.py check my_network.py:MyNet --seeds 0-9 --json grade.json
    """
    from ablations.grader.command import check_and_print

    try:
        exit_code = check_and_print(
            *network, limit_seconds=60 * time_limit, json_file=json_file, **options
        )
    except SystemExit:
        click.echo("Stopped; nothing was graded.", err=True)
        raise
    sys.exit(exit_code)


@main.command()
@dataset_option
@data_dir_option
@click.option("--fetch", is_flag=True, help="Download the data set if it is not found.")
@clear_errors
def data(dataset_name: str, data_dir: Path | None, fetch: bool) -> None:
    """Show which files of the data set were found, and whether they are intact.

    \b
    Examples:
      python cli.py data
      python cli.py data --dataset fashion-mnist --fetch --data-dir ~/datasets
    """
    from ablations.data.datasets import inspect_dataset, load_dataset, resolve_dataset

    name = "mnist" if dataset_name == "auto" else dataset_name
    if fetch and data_dir:
        data_dir.expanduser().mkdir(parents=True, exist_ok=True)
    for line in inspect_dataset(name, data_dir):
        click.echo(line)
    # The problems of files are printed above, those of a download are not.
    log = click.echo if fetch else lambda line: None
    found = load_dataset(*resolve_dataset(name, data_dir, fetch=fetch, log=log))
    click.echo(
        f"{found.title} in {found.source}: {found.id.num_train:,} training and "
        f"{found.id.num_test:,} test images, digest {found.id.sha256[:16]}, "
        f"pixel mean {found.mean}, standard deviation {found.std}"
    )


@main.command(hidden=True)
@click.argument("study_dir", type=PATH, metavar="RUN_DIR")
@click.argument("others", nargs=-1, type=PATH, metavar="[OTHER_DIR]...")
@clear_errors
def readme(study_dir: Path, others: tuple[Path, ...]) -> None:
    """Insert a study's results, and their replication in others, into README.md and docs/lesson.md.

    \b
    Example:
      python cli.py readme docs/reference docs/fashion-mnist
    """
    from reports.documents.write import write_readme

    write_readme(study_dir, others, Path("README.md"), Path("docs/lesson.md"))


def _exit_with_problems(problems: Iterable[str]) -> NoReturn:
    """Print the problems to stderr; the exit code is 1 if there are any."""
    problems = list(problems)
    for problem in problems:
        click.echo(f"Left out: {problem}", err=True)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
