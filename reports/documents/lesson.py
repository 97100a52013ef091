"""docs/lesson.md: the lesson plan, with expected results from the committed studies."""

from collections.abc import Sequence
from functools import partial

import torch

from ablations.analysis.attribution import Attribution, attribute
from ablations.analysis.replication import replication_rows
from ablations.analysis.statistics import (
    Estimate,
    PairedDifference,
    estimate,
    paired_difference,
    sampling_noise_pct,
)
from ablations.analysis.summary import AblationResult, Results, accuracy_by_seed
from ablations.catalogue.designs import subsets
from ablations.catalogue.entries import combine_entries, find_ablation
from ablations.catalogue.presets import QUICK
from mnist_blocks import TARGET, NetworkSpec
from mnist_blocks.network import build_network
from mnist_blocks.summary import count_parameters, describe, leaves
from reports.text.predict import choices
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
        choices=lambda row: choices(row, spec.margin_pct),
        layers=lambda name: parameter_counts(find_ablation(name).network_spec),
        paired=partial(_paired_example, results),
        interaction=partial(_interaction_of, results),
        difference_after=lambda name, epoch: paired_difference(
            accuracy_by_seed(_result_of(results, name).runs, epoch),
            accuracy_by_seed(target.runs, epoch),
        ),
    )


def _result_of(results: Results, name: str) -> AblationResult:
    """The result of an entry of the catalogue, or of a combination of entries.

    Raises:
        ValueError: the study has no run of it with a seed of the target.
    """
    rows = {row.ablation.name: row for row in (*results.rows, *results.combinations)}
    row = rows.get(name)
    if row is None or (name != "target" and row.difference_pct is None):
        raise ValueError(f"lesson: the study has no run of {name!r} with a seed of the target")
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


def _paired_example(results: Results, name: str) -> tuple[Estimate, Estimate, PairedDifference]:
    """Correct test images of the target, of a variant, and their differences.

    Raises:
        ValueError: there is no interval.
    """
    target, variant = (
        {run.run_spec.seed: run.last_epoch.test_correct for run in _result_of(results, one).runs}
        for one in ("target", name)
    )
    found = paired_difference(variant, target)
    if found is None or found.interval_95 is None:
        raise ValueError(f"lesson: {name!r} needs two seeds with different differences")
    one, other = (
        estimate({seed: side[seed] for seed in found.by_seed}) for side in (target, variant)
    )
    return one, other, found


def _interaction_of(results: Results, one: str, other: str) -> tuple[Attribution, dict[str, float]]:
    """What two ingredients contribute, and the mean accuracy of the four networks, by ablation."""
    by_seed = {
        removed: _result_of(results, combine_entries(removed).name).accuracy_pct.by_seed
        for removed in subsets([one, other])
    }
    [found] = attribute(by_seed, [one, other])
    accuracy_pct = {
        combine_entries(removed).name: estimate(
            {seed: accuracies[seed] for seed in found.seeds}
        ).mean
        for removed, accuracies in by_seed.items()
    }
    return found, accuracy_pct
