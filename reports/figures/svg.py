"""From a matplotlib figure to SVG for an HTML page with other SVGs.

Text stays text, in the page's font. Colours become the page's CSS variables, for light, dark and
printed pages. The page's policy forbids `style="..."`, which matplotlib writes: it becomes SVG
attributes.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree import ElementTree

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
VARIABLES = {value: f"var(--figure-{name})" for name, value in COLOURS.items()}
ZERO_LINE = "zero-line"
"""The id of the line of zero in a figure; in the page, its class is `zero`."""


@contextmanager
def figure_style() -> Iterator[None]:
    """Seaborn's style with the page's colours, independent of the user's settings."""
    style = sns.axes_style("whitegrid") | {
        "axes.edgecolor": COLOURS["muted"],
        "axes.facecolor": "none",
        "axes.labelcolor": COLOURS["muted"],
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlelocation": "left",
        "axes.titlesize": "medium",
        "figure.constrained_layout.use": True,
        "figure.facecolor": "none",
        "font.family": ["DejaVu Sans"],  # Comes with matplotlib: the same layout everywhere.
        "font.size": 12,
        "grid.color": COLOURS["grid"],
        "legend.frameon": False,
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
    drawn = io.StringIO()
    # The ids that matplotlib refers to are digests with this salt: unique in the page.
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(drawn, format="svg")
    # Without the metadata, and the style element, which would apply to the whole page.
    _, _, *content = ElementTree.fromstring(drawn.getvalue())
    width, height = (f"{72 * inches:.0f}" for inches in figure.get_size_inches())
    svg = ElementTree.Element(
        "svg",
        {
            "class": "plot",
            "id": f"{name}-figure",
            "role": "img",
            "aria-labelledby": f"{name}-title {name}-description",
            "viewBox": f"0 0 {width} {height}",
            "width": width,
            "height": height,
            "stroke-linejoin": "round",
        },
    )
    ElementTree.SubElement(svg, "title", id=f"{name}-title").text = title
    ElementTree.SubElement(svg, "desc", id=f"{name}-description").text = description
    svg.extend(content)
    for element in svg.iter():
        _fit_into_page(element)
    ElementTree.indent(svg, "")
    return Markup(ElementTree.tostring(svg, encoding="unicode"))


def _fit_into_page(element: ElementTree.Element) -> None:
    """No namespaces, styles and numbers of groups; short coordinates, and the page's colours."""
    element.tag = element.tag.rpartition("}")[2]
    attributes = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
    attributes |= re.findall(r"([\w-]+): ([^;]+)", attributes.pop("style", ""))
    attributes.pop("font-family", None)
    if element.tag == "g" and attributes.pop("id", None) == ZERO_LINE:
        attributes["class"] = "zero"
    for name in attributes.keys() & {"d", "x", "y"}:
        attributes[name] = re.sub(r"(\.\d\d)\d+", r"\1", attributes[name])
    element.attrib = {name: VARIABLES.get(value, value) for name, value in attributes.items()}
