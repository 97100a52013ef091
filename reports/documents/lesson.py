"""docs/lesson.md: the lesson plan, with expected results from the committed studies."""

from collections.abc import Sequence
from functools import partial

import torch

from ablations.analysis.attribution import Attribution, attribute
from ablations.analysis.intervals import Difference
from ablations.analysis.replication import replication_rows
from ablations.analysis.runs import accuracy_by_seed
from ablations.analysis.spread import resolution_pct
from ablations.analysis.statistics import Estimate, estimate, sampling_noise_pct
from ablations.analysis.summary import AblationResult, Results
from ablations.catalogue.designs import subsets
from ablations.catalogue.entries import combine_entries, find_ablation
from ablations.catalogue.presets import QUICK
from mnist_blocks import TARGET, NetworkSpec
from mnist_blocks.network import build_network
from mnist_blocks.summary import count_parameters, describe, leaves
from reports.text.replication import AGREEMENT_WORDS
from reports.text.templates import render_markdown
from reports.text.wording import REMOVED_WORDS


def render_lesson(studies: Sequence[Results]) -> str:
    """The lesson; the first study is the reference, the others are replications.

    Raises:
        ValueError: the lesson asks for an ablation without runs in the reference study.
    """
    results = studies[0]
    spec, target = results.study.spec, _result_of(results, "target")
    agreements = {row.ablation.name: row.agreement for row in replication_rows(studies)}
    return render_markdown(
        "lesson.jinja",
        results=results,
        target=target,
        spec=spec,
        quick=QUICK,
        removed=REMOVED_WORDS,
        noise_pct=sampling_noise_pct(target.accuracy_pct.mean, spec.dataset.num_test),
        replication=lambda name: AGREEMENT_WORDS[agreements[name]],
        num_studies=len(studies),
        result_of=partial(_result_of, results),
        layers=lambda name: parameter_counts(find_ablation(name).network_spec),
        by_hand=partial(_example_by_hand, results),
        interaction=partial(_interaction_of, results),
        difference_after=partial(_difference_after, results),
    )


def _difference_after(results: Results, name: str, epoch: int) -> float | None:
    """Mean accuracy minus the target's after an epoch; None where no run of one of them reached it."""
    sides = [accuracy_by_seed(_result_of(results, one).runs, epoch) for one in (name, "target")]
    return estimate(sides[0]).mean - estimate(sides[1]).mean if all(sides) else None


def _result_of(results: Results, name: str) -> AblationResult:
    """The result of an entry of the catalogue, or of a combination of entries."""
    rows = {row.ablation.name: row for row in (*results.rows, *results.combinations)}
    row = rows.get(name)
    if row is None or (name != "target" and row.difference_pct is None):
        raise ValueError(f"lesson: the study has no run of {name!r} or of the target")
    return row


def parameter_counts(spec: NetworkSpec = TARGET) -> list[tuple[str, str, int]]:
    """Of each layer with parameters: description, sum of sizes (`16 × 8 × 3 × 3 + 16`), number."""
    with torch.device("meta"):
        network = build_network(spec)
    found = []
    for _, layer in leaves(network):
        sizes = [" × ".join(map(str, parameter.shape)) for parameter in layer.parameters()]
        if sizes:
            found.append((describe(layer), " + ".join(sizes), count_parameters(layer)))
    return found


def _example_by_hand(results: Results, name: str) -> tuple[Estimate, Estimate, Difference]:
    """Correct test images of the target and of a variant, by seed, and the difference in points."""
    target, variant = (
        estimate(
            {
                run.run_spec.seed: run.last_epoch.test_correct
                for run in _result_of(results, one).runs
            }
        )
        for one in ("target", name)
    )
    found = _result_of(results, name).difference_pct
    if found is None or found.interval_95 is None:
        raise ValueError(f"lesson: {name!r} and the target need three seeds")
    return target, variant, found


def _interaction_of(results: Results, one: str, other: str) -> tuple[Attribution, dict[str, float]]:
    """What removing two ingredients does, and the mean accuracy of the four networks, by ablation."""
    by_seed = {
        removed: _result_of(results, combine_entries(removed).name).accuracy_pct.by_seed
        for removed in subsets([one, other])
    }
    [found] = attribute(by_seed, [one, other], resolution_pct(results.study.spec.dataset.num_test))
    accuracy_pct = {
        combine_entries(removed).name: estimate(accuracies).mean
        for removed, accuracies in by_seed.items()
    }
    return found, accuracy_pct
