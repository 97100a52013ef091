"""From a matplotlib figure to SVG that may stand in an HTML page beside other SVGs.

The text stays text, in the page's own font. Colours become the page's CSS variables, so that one
picture serves light, dark and printed pages.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
import seaborn as sns
from markupsafe import Markup
from matplotlib.figure import Figure

COLOURS = {
    "ink": "#1b2130",
    "muted": "#566074",
    "grid": "#dde1e8",
    "target": "#7c8698",
    "variant": "#0072b2",
    "published": "#c65102",
    "paper": "#fefefe",
    "shade": "#f1f3f6",
}
"""What figures are drawn with. `page.css` gives each a value for light and for dark pages, blue
and orange after Okabe and Ito's palette, which colour-blind readers can tell apart."""


@contextmanager
def figure_style() -> Iterator[None]:
    """Seaborn's style with this page's colours, whatever a user's own settings are."""
    style = sns.axes_style("whitegrid") | {
        "axes.edgecolor": COLOURS["muted"],
        "axes.facecolor": "none",
        "axes.labelcolor": COLOURS["muted"],
        "axes.unicode_minus": True,
        "figure.facecolor": "none",
        "font.family": ["DejaVu Sans"],  # Comes with matplotlib: the same layout everywhere.
        "font.size": 12,
        "axes.labelsize": 12,
        "xtick.labelsize": 12,
        "ytick.labelsize": 12,
        "legend.fontsize": 12,
        "grid.color": COLOURS["grid"],
        "text.color": COLOURS["ink"],
        "text.parse_math": False,
        "xtick.color": COLOURS["muted"],
        "ytick.color": COLOURS["muted"],
        "svg.fonttype": "none",
    }
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(style)
        yield


def to_svg(figure: Figure, name: str, title: str, description: str) -> Markup:
    """The figure as an `<svg>` element; `name` must be unique in the page.

    One inch is 72 CSS pixels, so a font size of 12 is 12 pixels at the figure's natural width.
    """
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    _, _, body = buffer.getvalue().partition("<svg")
    body = body[body.index(">") + 1 :]
    # The style element would apply to the whole page, and the page's policy forbids it.
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.DOTALL)
    # Every figure numbers its parts from 1; the prefix keeps ids unique in the page.
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'href="#|url\(#', lambda found: found[0] + f"{name}-", body)
    body = re.sub(r"font: ((?:\w+ )*[\d.]+px) [^;\"]+", r"font: \1 var(--sans)", body)
    for colour, value in COLOURS.items():
        body = body.replace(value, f"var(--figure-{colour})")
    width, height = (round(72 * inches) for inches in figure.get_size_inches())
    opening = Markup(
        '<svg class="plot" role="img" aria-labelledby="{name}-title {name}-description" '
        'viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        '<title id="{name}-title">{title}</title><desc id="{name}-description">{text}</desc>'
    ).format(name=name, width=width, height=height, title=title, text=description)
    return opening + Markup(body.strip())
