"""From a matplotlib figure to SVG for an HTML page with other SVGs.

Text stays text, in the page's font. Colours become the page's CSS variables, for light, dark and
printed pages. The page's policy forbids `style="..."`, which matplotlib writes: it becomes SVG
attributes.
"""

import io
import re
from collections.abc import Collection, Iterator
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
"""`page.css` has a value of each for light and for dark pages. Blue and orange are from Okabe and Ito's
colour-blind safe palette."""

ZERO_LINE = "zero-line"
"""The id of the line of no difference in a figure; in the page, its class is `zero`."""


@contextmanager
def figure_style() -> Iterator[None]:
    """Seaborn's style with the page's colours, independent of the user's settings."""
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
    body = _page_markup(body[body.index(">") + 1 :], name)
    width, height = (round(72 * inches) for inches in figure.get_size_inches())
    opening = Markup(
        '<svg class="plot" id="{name}-figure" role="img" aria-labelledby="{name}-title {name}-description" '
        'viewBox="0 0 {width} {height}" width="{width}" height="{height}" stroke-linejoin="round">'
        '<title id="{name}-title">{title}</title><desc id="{name}-description">{text}</desc>'
    ).format(name=name, width=width, height=height, title=title, text=description)
    return opening + Markup(body)


def _page_markup(body: str, name: str) -> str:
    """The content of matplotlib's `<svg>`, for the page."""
    # The style element would apply to the whole page; it only repeats what `to_svg` opens with.
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r"\s*\n\s*", "\n", body)
    used_ids = set(re.findall(r'(?:href="|url\()#([^")]+)', body))
    # Only what is between < and > is rewritten: matplotlib writes these two as &lt; and &gt; in
    # texts and values, so that a text which looks like markup stays as it is.
    body = re.sub(r"<[^<>]+>", lambda tag: _page_tag(tag[0], name, used_ids), body)
    return body.replace("<defs>\n</defs>", "").strip()


def _page_tag(tag: str, name: str, used_ids: Collection[str]) -> str:
    """One tag with ids of its own figure, short coordinates and no style."""
    tag = tag.replace(f' id="{ZERO_LINE}"', ' class="zero"')
    # Every figure numbers its parts from 1; the prefix keeps ids unique in the page.
    tag = re.sub(
        r' id="([^"]*)"', lambda id: f' id="{name}-{id[1]}"' if id[1] in used_ids else "", tag
    )
    tag = re.sub(r'href="#|url\(#', lambda found: f"{found[0]}{name}-", tag)
    tag = re.sub(r' transform="rotate\(-?0 [^"]*"', "", tag)
    tag = re.sub(r' (?:d|x|y|points)="[^"]*"', lambda found: _short_numbers(found[0]), tag)
    tag = re.sub(r' style="([^"]*)"', lambda style: _attributes(style[1]), tag)
    for colour, value in COLOURS.items():
        tag = tag.replace(value, f"var(--figure-{colour})")
    return tag


def _short_numbers(text: str) -> str:
    """Coordinates to a hundredth of a pixel."""
    return re.sub(
        r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), text
    )


def _attributes(style: str) -> str:
    """The declarations of a `style="..."` as attributes; the font's family is left to the page.

    Matplotlib before 3.11 writes the font as one declaration, such as `font: 700 12px 'DejaVu
    Sans'`, for which SVG has no attribute.
    """
    declared = dict(re.findall(r"([\w-]+): ([^;]+)", style))
    font = re.match(r"(?:(\d+) )?([\d.]+px) ", declared.pop("font", ""))
    if font:
        declared |= {"font-weight": font[1] or "400", "font-size": font[2]}
    declared.pop("font-family", None)
    return "".join(f' {name}="{value.strip()}"' for name, value in declared.items())
