"""Verdicts in words. Pure functions of results, without markup."""

from ablations.analysis.comparison import Comparison
from ablations.analysis.intervals import MIN_SEEDS
from ablations.analysis.summary import AblationResult
from ablations.words import plural

LARGE = 10
"""A difference this many margins from zero is called large without an interval."""


def verdict_name(found: AblationResult | Comparison, margin_pct: float) -> str:
    """Direction and size, such as `hurts, above the margin`; without a verdict the number of seeds."""
    verdict, difference = found.verdict, found.difference_pct
    if verdict:
        size = "size uncertain" if verdict.size == "uncertain" else f"{verdict.size} the margin"
        words = f"{verdict.direction}, {size}"
        return f"provisional: {words}" if verdict.is_provisional else words
    if difference is None:
        return "no comparison"
    number, of_target = difference.num_seeds
    words = "one seed" if number == 1 else plural(number, "seed")
    if number >= MIN_SEEDS:
        words = f"{'one seed' if of_target == 1 else plural(of_target, 'seed')} of the target"
    if abs(difference.mean) <= LARGE * margin_pct:
        return f"no verdict from {words}"
    return f"large in {'this run' if number == 1 else 'these runs'}; {words}"


def verdict_details(found: AblationResult | Comparison) -> str:
    """How many runs diverged; else, what would decide an uncertain size."""
    if found.num_diverged:
        return f"{found.num_diverged} of {plural(len(found.runs), 'run')} diverged"
    if found.verdict is None or found.verdict.size != "uncertain":
        return ""
    needed = found.verdict.seeds_to_decide
    if needed is None:
        return "so near to the margin that more than 1,000 seeds would be needed"
    return f"a new study with about {plural(needed, 'seed')} would decide it"
