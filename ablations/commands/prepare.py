"""From the options of `ablate` to a plan for this machine."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console

from ablations.catalogue.ablation import Ablation
from ablations.catalogue.experiment import RunSpec
from ablations.catalogue.presets import Preset, TimingPlan, choose_preset
from ablations.catalogue.recipes import RecipeName
from ablations.commands.looks import first_look, has_verdicts, make_plan
from ablations.data.dataset import Dataset
from ablations.data.datasets import load_dataset, resolve_dataset
from ablations.records.study import Study, load_study, missing_runs, plan_runs
from ablations.records.study_spec import (
    StudyError,
    StudySpec,
    check_folder,
    check_is_free,
    is_study,
)
from ablations.runner.backends import Backend
from ablations.runner.process_pool import default_num_jobs
from ablations.runner.progress import print_line
from ablations.runner.scheduler import WorkerSetup
from ablations.training.seed_groups import Shard, default_num_replicas, replicas_for_all
from speed.arithmetic import Arithmetic, choose_arithmetic

if TYPE_CHECKING:
    from ablations.runner.ray_pool import Cluster
    from ablations.runner.self_test import DeviceCheck


@dataclass(frozen=True)
class StudyRequest:
    """The options of `ablate`; None stands for the default of the preset or of this machine."""

    ablations: Sequence[Ablation]
    preset_name: str
    recipe: RecipeName
    seeds: Sequence[int] | None
    until_decided: bool
    num_epochs: int | None
    dataset_name: str
    data_dir: Path | None
    device_name: str
    arithmetic_name: str
    num_jobs: int | None
    backend: Backend
    ray_address: str | None
    gpus_per_task: float
    shard: Shard | None
    study_dir: Path | None
    margin_pct: float | None
    is_dry_run: bool
    stops_at_failure: bool


@dataclass(frozen=True)
class PreparedStudy:
    """A plan: the runs of a request, the data set, the device, and the study on disk."""

    study_dir: Path
    spec: StudySpec
    setup: WorkerSetup
    dataset: Dataset
    num_jobs: int
    run_specs: list[RunSpec]
    on_disk: Study
    """The study as it was last loaded, plus the runs that have finished since."""
    timing_plan: TimingPlan
    cluster: "Cluster | None"
    """The Ray cluster for the runs; None: processes of this machine."""
    shard: Shard | None
    is_device_here: bool
    """Whether this machine has the type of device that the runs use."""

    @property
    def missing(self) -> list[RunSpec]:
        """The runs that are not on disk. Raises as `missing_runs`."""
        return missing_runs(self.on_disk, self.run_specs)


def prepare(request: StudyRequest, console: Console, cluster: "Cluster | None") -> PreparedStudy:
    """Find the data set, the device and the folder, and load the folder's study.

    Raises:
        DataError, StudyError, RecordError: one of them cannot be used.
    """
    from ablations.runner.run_one import has_device
    from ablations.version import source_commit, source_digest

    # What costs nothing comes first: nothing is downloaded for a command that is refused.
    _check_request(request)
    if request.study_dir and not is_study(request.study_dir):
        check_is_free(request.study_dir)
    try:
        device_name = _find_device(request.device_name, cluster)
        arithmetic = choose_arithmetic(request.arithmetic_name, device_name)
    except ValueError as error:
        raise StudyError(str(error)) from error
    num_jobs = request.num_jobs or default_num_jobs(device_name)
    name, folder = resolve_dataset(
        request.dataset_name,
        request.data_dir,
        fetch=not request.is_dry_run,
        log=lambda line: print_line(console, line),
    )
    dataset = load_dataset(name, folder)
    preset = choose_preset(request.preset_name, dataset.id, request.recipe)
    study_dir, on_disk = _open_study(request, preset, dataset, device_name, arithmetic)
    spec = on_disk.spec
    num_replicas = default_num_replicas(device_name)
    if request.seeds:
        run_specs = plan_runs(spec, request.ablations, request.seeds)
    else:
        run_specs = first_look(spec, request.ablations, preset.looks)
    if request.shard:
        run_specs = request.shard.part_of(run_specs, num_replicas)
        if not run_specs:
            raise StudyError(f"--shard: part {request.shard.number} has no runs; use fewer parts")
    if cluster:
        num_jobs = max(1, cluster.num_slots(device_name))
    missing = missing_runs(on_disk, run_specs)
    # Parts of a study are divided as without a fallback, which other machines may not need.
    fallback_reason = ""
    if num_replicas > 1 and (failed := _failed_check(device_name, cluster)):
        num_replicas, fallback_reason = 1, f"{failed.name}: {failed.problem}"
        print_line(console, f"The self-test of {device_name}: {fallback_reason}; {failed.advice}.")
    return PreparedStudy(
        study_dir=study_dir,
        spec=spec,
        setup=WorkerSetup(
            name,
            folder,
            device_name,
            arithmetic,
            source_commit(),
            source_digest(),
            replicas_for_all(missing, num_replicas, num_jobs) if cluster else num_replicas,
            fallback_reason,
        ),
        dataset=dataset,
        num_jobs=num_jobs,
        run_specs=run_specs,
        on_disk=on_disk,
        timing_plan=preset.timing,
        cluster=cluster,
        shard=request.shard,
        is_device_here=has_device(device_name),
    )


def _check_request(request: StudyRequest) -> None:
    """Raise StudyError for options that exclude each other."""
    if undefined := [one.name for one in request.ablations if request.recipe not in one.recipes]:
        raise StudyError(
            f"{', '.join(undefined)}: not defined under --recipe {request.recipe}; leave it out, or "
            "choose the other recipe"
        )
    if request.until_decided and (request.seeds or request.shard or request.preset_name == "quick"):
        raise StudyError(
            "--until-decided follows the planned looks of a whole study: leave out --seeds, --shard "
            "and --preset quick"
        )


def _open_study(
    request: StudyRequest,
    preset: Preset,
    dataset: Dataset,
    device_name: str,
    arithmetic: Arithmetic,
) -> tuple[Path, Study]:
    """The folder of a request, and the study in it, which is empty if there is none yet."""
    spec = StudySpec(
        dataset=dataset.id,
        dataset_title=dataset.title,
        num_epochs=request.num_epochs or preset.num_epochs,
        num_train_images=preset.num_train_images,
        device_type=device_name,
        arithmetic=arithmetic,
        recipe=request.recipe,
        seed_plan=make_plan(
            request.ablations, (len(request.seeds),) if request.seeds else preset.looks
        ),
    )
    study_dir = request.study_dir or _default_study_dir(preset, spec, request.shard)
    # Packed runs are restored later, under the folder's lock.
    found = load_study(study_dir, restores=False) if is_study(study_dir) else None
    margin_pct = request.margin_pct or (found.spec if found else spec).margin_pct
    spec = msgspec.structs.replace(spec, margin_pct=margin_pct)
    check_folder(study_dir, found.spec if found else None, spec)
    if found is None:
        return study_dir, Study(study_dir.name, spec, records=(), timing=None, problems=())
    if has_verdicts(found):
        spec = found.spec  # From the first verdict on, the plan is fixed.
    return study_dir, replace(found, spec=spec)


def _find_device(name: str, cluster: "Cluster | None") -> str:
    """The type of device for the runs, of this machine or the cluster; ValueError without one."""
    from ablations.runner.run_one import choose_device

    if cluster is None:
        return choose_device(name)
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"--device {name} is not possible on a Ray cluster; try cuda or cpu")
    found = cluster.device() if name == "auto" else name
    if cluster.num_slots(found) == 0:
        raise ValueError(
            f"no machine of the cluster can run a task on {found}: start one, or try --device cpu"
        )
    return found


def _failed_check(device_name: str, cluster: "Cluster | None") -> "DeviceCheck | None":
    """The first check that failed; None if the device may train seeds as one network."""
    from ablations.runner.self_test import check_device_safely

    checks = check_device_safely(device_name, cluster)
    return next((check for check in checks if not check.has_passed), None)


def _default_study_dir(preset: Preset, spec: StudySpec, shard: Shard | None) -> Path:
    """A folder under `runs/`, the same for the same request, so that it resumes its study."""
    is_named = {
        preset.name: preset.name != "full",
        spec.recipe: spec.recipe != "tuned",
        f"{spec.num_epochs}-epochs": spec.num_epochs != preset.num_epochs,
        spec.device_type: spec.device_type != "cpu",
        spec.arithmetic: spec.arithmetic != choose_arithmetic("auto", spec.device_type),
    }
    parts = [spec.dataset.name, *(word for word, is_shown in is_named.items() if is_shown)]
    if shard:
        parts.append(f"shard-{shard.number}-of-{shard.count}")
    return Path("runs") / "-".join(parts)
