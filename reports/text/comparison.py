"""Comparisons in words, a few lines each."""

from collections.abc import Sequence

from ablations.analysis.comparison import Comparison
from ablations.words import plural
from reports.text.evidence import p_value, verdict_details, verdict_name
from reports.text.wording import decimal, interval, signed


def comparison_lines(found: Sequence[Comparison], margin_pct: float) -> list[str]:
    """What the command line prints of comparisons."""
    lines = []
    for one in found:
        difference, verdict = one.difference_pct, one.verdict
        lines.append(
            f"{one.name}: {signed(difference.mean, 3)} points "
            f"({decimal(one.one_accuracy_pct)} % and {decimal(one.other_accuracy_pct)} %, "
            f"{plural(len(difference.by_seed), 'seed')})"
        )
        if difference.interval_95:
            lines.append(
                f"  95 % interval {interval(difference.interval_95, 3)}; paired t-test p "
                f"{p_value(difference.t_test_p)}, Holm-adjusted for {plural(len(found), 'comparison')} "
                f"{p_value(verdict.differs_p)}; sign-flip test p {p_value(difference.sign_flip_p)} "
                f"(lowest possible {p_value(difference.sign_flip_floor)})"
            )
        if one.mcnemar_p is not None:
            lines.append(
                f"  McNemar p {p_value(one.mcnemar_p)}: compares two trained networks, not two recipes"
            )
        if one.loss_difference:
            lines.append(f"  test loss {signed(one.loss_difference.mean, 4)}")
        if not any(difference.by_seed.values()):
            lines.append("  the same number of correct test images at every seed")
            continue
        details = verdict_details(verdict, margin_pct)
        words = verdict_name(verdict).replace("helps", "better").replace("hurts", "worse")
        lines.append(
            f"  verdict at an equivalence margin of {decimal(margin_pct)} points: {words}"
            + (f" ({details})" if details else "")
        )
    return lines
