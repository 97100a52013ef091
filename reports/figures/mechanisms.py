"""Figures of how an ingredient works, from what was measured in trained networks."""

from collections.abc import Sequence

from markupsafe import Markup
from matplotlib.figure import Figure

from ablations.analysis.mechanisms import GapComparison, ObservedPair, SignalProfile
from reports.figures.axes import add_legend, draw_estimate, finish_rows, scale_logarithmically
from reports.figures.svg import COLOURS, figure_style, to_svg

SIGNAL_PANELS = (
    ("Outputs of each block (root mean square)", "output_rms"),
    ("Gradients of its weights (root mean square)", "gradient_rms"),
)
"""Title, and field of `SignalProfile`."""


def network_labels(pair: ObservedPair) -> tuple[str, str]:
    """The target and the ablation, as a legend names them."""
    return "target", f"without {pair.row.ablation.removes}"


def profile_label(profile: SignalProfile, pair: ObservedPair) -> str:
    """`target, before training`, as a legend names a line."""
    label = network_labels(pair)[0 if profile.is_target else 1]
    return f"{label}, {'before' if profile.is_before_training else 'after'} training"


def block_labels(pair: ObservedPair) -> list[str]:
    """Stage and block, such as `1.2`."""
    names = [signal.block for signal in pair.of_ablation[0].signals]
    return [name.replace("stage", "").replace(".block", ".") for name in names]


def signal_figure(name: str, pair: ObservedPair, profiles: Sequence[SignalProfile]) -> Markup:
    """What each block passes on, in two logarithmic panels with a line for each profile."""
    blocks, descriptions = block_labels(pair), []
    with figure_style():
        figure = Figure(figsize=(11, 3.6))
        panels = figure.subplots(1, len(SIGNAL_PANELS))
        for axes, (title, field) in zip(panels, SIGNAL_PANELS, strict=True):
            for profile in profiles:
                values, label = getattr(profile, field), profile_label(profile, pair)
                axes.plot(
                    blocks, values, label=label, linewidth=2, markersize=7,
                    color=COLOURS["target" if profile.is_target else "variant"],
                    marker="s" if profile.is_target else "o",
                    linestyle="--" if profile.is_before_training else "-",
                    markerfacecolor=COLOURS["paper"] if profile.is_before_training else None,
                )  # fmt: skip
                descriptions.append(f"{title}: {label} from {values[0]:.3g} to {values[-1]:.3g}")
            scale_logarithmically(axes)
            axes.set_title(title)
        add_legend(figure, 2)
        title = "Signals and gradients, block by block"
        return to_svg(figure, name, title, "; ".join(descriptions))


def gap_figure(name: str, pair: ObservedPair, gaps: GapComparison) -> Markup:
    """Errors on training and on test images, one row for each network, with every seed."""
    labels, descriptions = network_labels(pair), []
    with figure_style():
        figure = Figure(figsize=(11, 2.6))
        axes = figure.subplots()
        for row, (label, gap) in enumerate(zip(labels, (gaps.target, gaps.ablation), strict=True)):
            training, test = gap.training_pct, gap.test_pct
            words = "training images, not augmented"
            draw_estimate(axes, training, row - 0.15, words, marker="s", spread=0.2)
            draw_estimate(axes, test, row + 0.15, "test images", colour="published", spread=0.2)
            descriptions.append(f"{label}: training {training.mean:.2f} %, test {test.mean:.2f} %")
        finish_rows(axes, labels)
        axes.set_xlabel("images wrong (%), mean with 95 % interval")
        add_legend(figure, 3)
        title = "Errors on training and on test images"
        return to_svg(figure, name, title, "; ".join(descriptions))
