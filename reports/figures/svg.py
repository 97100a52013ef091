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
from PIL import Image

from reports.exports.download import Download, file_name, make_download

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
FONTS = "DejaVu Sans, Verdana, sans-serif"
"""Of a file outside of the page: the font that a figure is laid out with, and one of the same widths."""
PNG_DOTS_PER_INCH = 120
PNG_COLOURS = 32
"""Enough for the edges of letters; half the bytes of all colours."""


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


class PageFigure(Markup):
    """A figure as an `<svg>` element of a page, and as the files that a reader can download."""

    name: str
    figure: Figure

    def downloads(self, study: str) -> list[Download]:
        """The figure as SVG and as PNG, in light colours. Drawn only when this is called."""
        name = file_name(study, self.name)
        content = standalone_svg(self).encode()
        return [
            make_download(f"{name}.svg", "SVG", "image/svg+xml", content),
            make_download(f"{name}.png", "PNG", "image/png", draw_png(self.figure)),
        ]


def draw_png(figure: Figure) -> bytes:
    """The figure as a PNG file on white, with a palette."""
    drawn, reduced = io.BytesIO(), io.BytesIO()
    with figure_style():
        figure.savefig(drawn, format="png", dpi=PNG_DOTS_PER_INCH, facecolor="white")
    image = Image.open(drawn).convert("RGB").quantize(PNG_COLOURS, dither=Image.Dither.NONE)
    image.save(reduced, "PNG", optimize=True)
    return reduced.getvalue()


def standalone_svg(svg: str) -> str:
    """A figure of the page as a file of its own, with the page's light colours on white."""
    # A plain string: Markup would escape what is put into it.
    svg = str(svg).replace(
        "<svg ", f'<svg xmlns="http://www.w3.org/2000/svg" font-family="{FONTS}" ', 1
    )
    # Not every program that shows SVG knows CSS variables.
    for value, variable in VARIABLES.items():
        svg = svg.replace(variable, value)
    style = "<style>svg{background:#fff}</style>"
    return re.sub(r"(<svg [^>]*>)", rf"\1{style}", svg, count=1) + "\n"


def to_svg(figure: Figure, name: str, title: str, description: str) -> PageFigure:
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
    _flatten(svg)
    ElementTree.indent(svg, "")
    found = PageFigure(ElementTree.tostring(svg, encoding="unicode"))
    found.name, found.figure = name, figure
    return found


def _fit_into_page(element: ElementTree.Element) -> None:
    """Remove namespaces, styles and ids of groups; shorten coordinates; use the page's colours."""
    element.tag = element.tag.rpartition("}")[2]
    attributes = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
    attributes |= re.findall(r"([\w-]+): ([^;]+)", attributes.pop("style", ""))
    attributes.pop("font-family", None)
    if attributes.get("transform", "").startswith("rotate(-0 "):
        del attributes["transform"]
    if element.tag == "g":
        attributes.pop("id", None)
    for name in attributes.keys() & {"d", "x", "y"}:
        attributes[name] = re.sub(r"(\.\d\d)\d+", r"\1", attributes[name])
    element.attrib = {name: VARIABLES.get(value, value) for name, value in attributes.items()}


def _flatten(parent: ElementTree.Element) -> None:
    """Remove groups without attributes, and shapes that are not drawn: half of the elements."""
    children: list[ElementTree.Element] = []
    for child in parent:
        _flatten(child)
        if child.tag == "g" and not child.attrib:
            children += child
        elif child.attrib.get("fill") != "none" or "stroke" in child.attrib:
            children.append(child)
    parent[:] = children
