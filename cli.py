"""The command line: parse, call, print. What it calls stands in `ablations` and `reports`."""

import sys
import traceback
import webbrowser
from collections.abc import Sequence
from pathlib import Path

import click

from ablations.catalogue.ablation import Ablation
from ablations.catalogue.designs import CORE, DESIGNS, Design, design_ablations
from ablations.catalogue.entries import CATALOGUE
from ablations.catalogue.experiment import DATASET_NAMES
from ablations.commands.options import (
    AblationName,
    SeedList,
    ShardOf,
    a_number,
    clear_errors,
    data_dir_option,
    dataset_option,
)
from ablations.runner.backends import BACKENDS, Backend
from ablations.training.seed_groups import Shard
from ablations.version import VERSION
from ablations.words import in_one_line
from speed.arithmetic import ARITHMETICS


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(VERSION, prog_name="mnist-ablations")
def main() -> None:
    """What is each ingredient of a 19,000-parameter MNIST network worth? Take it out and see.

    \b
    Examples:
      python cli.py ablate --preset quick      a first report, in a few minutes
      python cli.py ablate --all               everything: 16 variants, 20 epochs, 3 seeds
      python cli.py show no-gap                what an ablation changes
    """


@main.command()
@click.argument("names", nargs=-1, type=AblationName(), metavar="[NAME]...")
@click.option("--all", "all_ablations", is_flag=True, help="Every entry of the catalogue.")
@click.option(
    "--design",
    type=click.Choice(DESIGNS),
    default=DESIGNS[0],
    show_default=True,
    help="Which networks are compared. leave-one-out: the whole network without each ingredient; "
    "add-one-in: the bare network with each one; ladder: one after another added to the bare "
    "network, in the order of cli.py list; factorial: every combination. All but the first take the assignment's four "
    "concepts where none is named, and at most 8 for a factorial. Designs may share a folder.",
)
@click.option(
    "--seeds",
    type=SeedList(),
    help="Such as 0-4 or 0,3,7.  [default: 0-2; with --preset quick: 0]",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    help="Epochs of training.  [default: 20; with --preset quick: 3, or 20 for a small data set]",
)
@click.option(
    "--preset",
    type=click.Choice(["quick"]),
    help="quick: 9,000 of the training images for 3 epochs (a smaller data set whole, for 20), for "
    "a first look; of all ablations where none is named.",
)
@dataset_option
@data_dir_option
@click.option(
    "--device",
    type=click.Choice(["auto", "cuda", "mps", "cpu"]),
    default="auto",
    show_default=True,
    help="auto is the first of cuda, mps and cpu that there is.",
)
@click.option(
    "--arithmetic",
    type=click.Choice(["auto", *ARITHMETICS]),
    default="auto",
    show_default=True,
    help="plain: PyTorch's layers in float32; float32 and bfloat16: compiled loops of this "
    "project's own, on a CPU. auto: the fastest one here (docs/performance.md compares their "
    "accuracy).",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Runs at a time.  [default: one for each CPU core; 1 on a GPU]",
)
@click.option(
    "--backend",
    type=click.Choice(BACKENDS),
    default=BACKENDS[0],
    show_default=True,
    help="Where runs are carried out: in processes of this machine, or on a Ray cluster "
    "(docs/scaling.md).",
)
@click.option(
    "--ray-address",
    metavar="ADDRESS",
    help="Of the Ray cluster: auto, or HOST:PORT.  [default: one is started, on this machine]",
)
@click.option(
    "--gpus-per-task",
    type=click.FloatRange(min=0, max=1, min_open=True),
    callback=a_number,
    help="On a Ray cluster: 0.5 lets two groups of seeds share a GPU.  [default: 1]",
)
@click.option(
    "--shard",
    type=ShardOf(),
    metavar="I/N",
    help="Only the I-th of N parts of the runs, into a folder of its own; `merge` brings the "
    "folders together (docs/scaling.md).",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Study folder: runs that it holds already are not run again.  [default: under runs/]",
)
@click.option(
    "--margin",
    type=click.FloatRange(min=0, max=100, min_open=True),
    callback=a_number,
    help="Points of accuracy below which a difference does not matter; it belongs to the study, and "
    "cannot be changed once there is one.  [default: 0.1]",
)
@click.option("--dry-run", is_flag=True, help="Say what would run, and for how long; run nothing.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first run that fails.")
@clear_errors
def ablate(
    names: tuple[Ablation, ...],
    all_ablations: bool,
    design: Design,
    seeds: tuple[int, ...] | None,
    epochs: int | None,
    preset: str | None,
    dataset: str,
    data_dir: Path | None,
    device: str,
    arithmetic: str,
    jobs: int | None,
    backend: Backend,
    ray_address: str | None,
    gpus_per_task: float | None,
    shard: Shard | None,
    out: Path | None,
    margin: float | None,
    dry_run: bool,
    fail_fast: bool,
) -> None:
    """Train the target and its ablations, and write a report.

    The target is always among the runs, since every difference is a difference from it. Run the
    same command again after an interruption: it does only what is missing.

    \b
    Examples:
      python cli.py ablate --preset quick
      python cli.py ablate --all
      python cli.py ablate no-batchnorm no-dropout --seeds 0-4
      python cli.py ablate --design factorial
      python cli.py ablate --design ladder batchnorm dropout augmentation
      python cli.py ablate --all --dry-run
      python cli.py ablate no-gap --epochs 5 --out runs/gap-in-five
      python cli.py ablate --all --seeds 0-29 --backend ray --ray-address auto
      python cli.py ablate --all --seeds 0-29 --shard 3/8
    """
    from ablations.commands.prepare import StudyRequest
    from ablations.commands.run_study import run_study
    from reports.documents.write import write_report

    if all_ablations and names:
        raise click.UsageError("give either names or --all, not both")
    if backend != "ray" and (ray_address or gpus_per_task):
        raise click.UsageError("--ray-address and --gpus-per-task are for --backend ray")
    is_plain = design == "leave-one-out"
    if not all_ablations and not names and preset is None and is_plain:
        raise click.UsageError("nothing to run: name ablations, or give --all (see cli.py list)")
    entries: Sequence[Ablation] = names or (CATALOGUE if all_ablations or is_plain else CORE)
    try:
        chosen = design_ablations(design, entries)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    request = StudyRequest(
        ablations=chosen,
        preset_name=preset or "full",
        seeds=seeds,
        num_epochs=epochs,
        dataset_name=dataset,
        data_dir=data_dir,
        device_name=device,
        arithmetic_name=arithmetic,
        num_jobs=jobs,
        backend=backend,
        ray_address=ray_address,
        gpus_per_task=gpus_per_task or 1.0,
        shard=shard,
        study_dir=out,
        margin_pct=margin,
        is_dry_run=dry_run,
        stops_at_failure=fail_fast,
    )
    sys.exit(run_study(request, write_report))


@main.command("list")
def list_ablations() -> None:
    """Name every ablation, and what it removes from the target.

    \b
    Example:
      python cli.py list
    """
    width = max(len(ablation.name) for ablation in CATALOGUE)
    for ablation in CATALOGUE:
        core = "  (a concept of the assignment)" if ablation.is_core else ""
        removed = (
            "the whole network" if ablation.kind == "target" else f"without {ablation.removes}"
        )
        click.echo(f"{ablation.name:<{width}}  {removed}{core}")


@main.command()
@click.argument("ablation", type=AblationName(), metavar="NAME")
def show(ablation: Ablation) -> None:
    """Show what an ablation changes, and its network layer by layer.

    \b
    Examples:
      python cli.py show target
      python cli.py show no-gap-matched
    """
    from reports.text.layers import ablation_lines

    for line in ablation_lines(ablation):
        click.echo(line)


@main.command()
@click.argument(
    "study_dirs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN_DIR..."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Of several studies: the page to write.  [default: transfer.html beside the last]",
)
@click.option("--open", "opens", is_flag=True, help="Show the page in the browser.")
@data_dir_option
@clear_errors
def report(
    study_dirs: tuple[Path, ...], out: Path | None, opens: bool, data_dir: Path | None
) -> None:
    """Render a study folder's report again, from its records; of several, a page beside that.

    Beside one study's report.html lies report.md, a summary for a pull request. Where the networks'
    weights and the data set are there, what the page shows of them is measured if that is missing.

    With several studies, for example of two data sets, the page says of each conclusion whether
    it holds in all of them.

    \b
    Examples:
      python cli.py report runs/mnist --open
      python cli.py report runs/mnist runs/fashion-mnist
    """
    from ablations.analysis.summary import summarise
    from ablations.inspection.load import is_up_to_date
    from ablations.records.study import load_study
    from ablations.records.study_spec import is_study
    from reports.documents.write import TRANSFER_FILE, write_results, write_transfer

    studies = [load_study(study_dir) for study_dir in study_dirs]
    if len(studies) > 1:
        if data_dir:
            raise click.UsageError("--data-dir is for one study, whose networks are looked at")
        if len({study_dir.resolve() for study_dir in study_dirs}) < len(study_dirs):
            raise click.UsageError("the same study is named twice")
        out = out or study_dirs[-1].parent / TRANSFER_FILE
        if is_study(out.resolve().parent):
            raise click.UsageError(f"--out {out}: that folder is a study; choose another place")
        write_transfer([summarise(study) for study in studies], out)
    elif out:
        raise click.UsageError(
            "--out is for several studies; one study's report lies in its folder"
        )
    else:
        if not is_up_to_date(study_dirs[0], studies[0]):
            from ablations.inspection.build import complete_exhibits

            complete_exhibits(study_dirs[0], studies[0], data_dir, click.echo)
        out = write_results(summarise(studies[0]), study_dirs[0])
    click.echo(f"Report: {out}")
    if opens and not webbrowser.open(out.resolve().as_uri()):
        click.echo("No browser could be started; open that file yourself.", err=True)
    problems = [problem for study in studies for problem in study.problems]
    for problem in problems:
        click.echo(f"Left out: {problem}", err=True)
    sys.exit(1 if problems else 0)


@main.command()
@click.argument(
    "parts", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN_DIR..."
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the whole study.",
)
@clear_errors
def merge(parts: tuple[Path, ...], out: Path) -> None:
    """Copy the runs of a study's parts into one folder.

    Every run is checked on the way, and parts of different studies are refused. Nothing that is in
    the folder already is replaced, so the same command takes what has been added to a part since.
    The command that made a part, with this --out and without --shard, then does runs that are
    missing, times the epochs and writes the report.

    \b
    Example:
      python cli.py merge runs/mnist-shard-* --out runs/mnist
    """
    from ablations.records.merge import merge_studies
    from ablations.words import plural

    found = merge_studies(parts, out)
    click.echo(
        f"{plural(found.num_copied, 'run')} copied to {out}/, {found.num_present:,} were there already. "
        f"A report on them: python cli.py report {out}"
    )
    for problem in found.problems:
        click.echo(f"Left out: {problem}", err=True)
    sys.exit(1 if found.problems else 0)


@main.command()
@click.argument("sides", nargs=-1, metavar="[A B] RUN_DIR...")
@clear_errors
def compare(sides: tuple[str, ...]) -> None:
    """Compare two ablations of a study, or two studies, seed by seed.

    Two ablations: A minus B in RUN_DIR. Two studies: each ablation that both contain, the first
    study minus the second; studies of other data or length are refused, and what else differs
    (versions, arithmetic, device) is said.

    \b
    Examples:
      python cli.py compare no-gap no-gap-matched runs/mnist
      python cli.py compare runs/this-week runs/last-week
    """
    from ablations.analysis.comparison import compare_ablations, compare_studies
    from ablations.records.study import load_study
    from reports.text.comparison import comparison_lines
    from reports.text.wording import chance_notices, mixed_notices
    from reports.text.wording import notices as notices_of

    if len(sides) == 3:
        names = [AblationName().convert(side, None, None).name for side in sides[:2]]
        studies = [load_study(Path(sides[2]))]
        found, notes = [compare_ablations(studies[0], names[0], names[1])], []
    elif len(sides) == 2:
        studies = [load_study(Path(side)) for side in sides]
        both = compare_studies(*studies)
        found = both.comparisons
        notes = [f"They differ in {line}" for line in both.mixed]
        notes += [f"Not compared: {line}" for line in both.left_out]
    else:
        raise click.UsageError("give two ablations and a study, or two studies")
    for line in [*comparison_lines(found, studies[0].spec.margin_pct), *notes]:
        click.echo(line)
    problems = [problem for study in studies for problem in study.problems]
    warnings = [
        f"Please note: {line}"
        for study in studies
        for line in (*notices_of(study.spec), *chance_notices(study), *mixed_notices(study))
    ]
    for line in dict.fromkeys([*warnings, *(f"Left out: {problem}" for problem in problems)]):
        click.echo(line, err=True)
    sys.exit(1 if problems else 0)


@main.command()
@click.argument("study_dir", type=click.Path(path_type=Path), metavar="[RUN_DIR]", required=False)
@click.option(
    "--effect",
    type=click.FloatRange(min=0, max=100, min_open=True),
    callback=a_number,
    default=0.1,
    show_default=True,
    help="Difference in accuracy to be found, in points.",
)
@click.option(
    "--power",
    type=click.FloatRange(min=0.05, max=0.999),
    callback=a_number,
    default=0.8,
    show_default=True,
    help="In which share of studies it is to be found.",
)
@data_dir_option
@clear_errors
def plan(study_dir: Path | None, effect: float, power: float, data_dir: Path | None) -> None:
    """Say how many seeds find a difference, and how long they take on this machine.

    How much differences vary over seeds is taken from RUN_DIR; where none is named, from the
    reference study that comes with the source.

    \b
    Examples:
      python cli.py plan --effect 0.05 --power 0.8
      python cli.py plan runs/mnist --effect 0.2
    """
    from ablations.analysis.power import plan_lines, plan_seeds, seconds_a_run, time_lines
    from ablations.records.study import load_study

    study = load_study(study_dir or Path(__file__).resolve().parent / "docs" / "reference")
    found = plan_seeds(study, effect, power)
    for line in plan_lines(found, study, effect, power):
        click.echo(line)
    if found.num_seeds is not None:
        for line in time_lines(found, *seconds_a_run(study, data_dir)):
            click.echo(line)


@main.command()
@click.argument("network", metavar="FILE.py:NAME")
@click.option(
    "--seeds", type=SeedList(), default="0-4", show_default=True, help="One training each."
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    default=19,
    show_default=True,
    help="Epochs of training: the assignment wants fewer than 20.",
)
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    callback=a_number,
    default=60,
    show_default=True,
    help="Minutes for all trainings together; looking at the network first takes 2 at most.",
)
@click.option("--jobs", type=click.IntRange(min=1), help="Trainings at a time.  [default: cores]")
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the grade here, too.",
)
@click.option(
    "--dataset",
    type=click.Choice(["auto", *DATASET_NAMES]),
    default="auto",
    show_default=True,
    help="auto is MNIST, which the assignment means; on anything else its accuracy is undecided.",
)
@data_dir_option
@clear_errors
def check(
    network: str,
    seeds: tuple[int, ...],
    epochs: int,
    time_limit: float,
    jobs: int | None,
    json_file: Path | None,
    dataset: str,
    data_dir: Path | None,
) -> None:
    """Check your own network against the assignment.

    NAME in FILE.py is a class or function that gives an nn.Module without arguments, a module, or a
    NetworkSpec. The file is run, in processes of its own with a time limit; it can do whatever you
    can, so check only files that you would run yourself.

    The network is trained once for each seed by the reference recipe, on one core each. Exit code:
    0 pass, 1 fail, 3 undecided (too few seeds, a limit of time or memory, or not MNIST); 2 and 4 are
    no grade: the command was misused, or the machine is in the way.

    \b
    Examples:
      python cli.py check my_network.py:MyNet
      python cli.py check my_network.py:MyNet --seeds 0-9 --json grade.json
    """
    from ablations.commands.run_study import EXIT_INTERRUPTED
    from ablations.data.datasets import DataError
    from ablations.grader.command import check_and_tell
    from ablations.grader.grade import NO_GRADE_EXIT_CODE
    from ablations.grader.protocol import MachineError, UnknownNameError

    file, colon, name = network.rpartition(":")
    if not colon or not name.isidentifier():
        raise click.UsageError(
            f"'{network}': write the file and the name in it: my_network.py:MyNet"
        )
    if not Path(file).is_file():
        raise click.UsageError(f"there is no file '{file}'")
    if Path(file).suffix != ".py":
        raise click.UsageError(f"'{file}' is not a Python file")
    if json_file and not json_file.parent.is_dir():
        raise click.UsageError(f"--json {json_file}: there is no folder {json_file.parent}")
    try:
        exit_code = check_and_tell(
            Path(file), name, seeds, epochs, 60 * time_limit, jobs, dataset, data_dir, json_file
        )
    except UnknownNameError as error:
        raise click.UsageError(str(error)) from error
    except KeyboardInterrupt:
        click.echo("Stopped; nothing was graded.", err=True)
        exit_code = EXIT_INTERRUPTED
    except (DataError, MachineError, OSError) as error:
        click.echo(f"Error: {in_one_line(error)}", err=True)
        exit_code = NO_GRADE_EXIT_CODE
    except Exception:  # noqa: BLE001 (a bug; the exit code that Python gives it is "fail" here)
        traceback.print_exc()
        exit_code = NO_GRADE_EXIT_CODE
    sys.exit(exit_code)


@main.command()
@dataset_option
@data_dir_option
@click.option("--fetch", is_flag=True, help="Download the data set if it is nowhere.")
@clear_errors
def data(dataset: str, data_dir: Path | None, fetch: bool) -> None:
    """Show where the data set is searched and found, and whether it verifies.

    \b
    Examples:
      python cli.py data
      python cli.py data --dataset fashion-mnist --fetch --data-dir ~/datasets
    """
    from ablations.data.datasets import inspect_dataset, load_dataset, resolve_dataset

    name = "mnist" if dataset == "auto" else dataset
    if data_dir and not fetch and not data_dir.expanduser().is_dir():
        click.echo(f"warning: there is no folder {data_dir}; looking elsewhere", err=True)
    for file in inspect_dataset(name, data_dir):
        if file.problem:
            click.echo(f"bad       {file.problem}")
        if file.status == "verified":
            click.echo(f"verified  {file.path}")
    # What is wrong with a file has just been said; what a download does has not.
    say = click.echo if fetch else lambda line: None
    found_name, folder = resolve_dataset(name, data_dir, fetch=fetch, say=say)
    found = load_dataset(found_name, folder)
    click.echo(
        f"{found.title} in {found.source}: {found.id.num_train:,} training and "
        f"{found.id.num_test:,} test images, digest {found.id.sha256[:16]}, "
        f"pixel mean {found.mean}, standard deviation {found.std}"
    )


@main.command(hidden=True)
@click.argument("study_dir", type=click.Path(path_type=Path), metavar="RUN_DIR")
@click.argument("others", nargs=-1, type=click.Path(path_type=Path), metavar="[OTHER_DIR]...")
@clear_errors
def readme(study_dir: Path, others: tuple[Path, ...]) -> None:
    """Put a study's results into README.md and the lesson plan, and whether they hold in others.

    Figures are written beside the records.

    \b
    Example:
      python cli.py readme docs/reference docs/fashion-mnist
    """
    from reports.documents.write import write_readme

    write_readme(study_dir, others, Path("README.md"), Path("docs/lesson.md"))


if __name__ == "__main__":
    main()
