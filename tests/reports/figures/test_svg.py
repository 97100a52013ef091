"""Figures as files: the colours, the font and the size that a reader gets."""

import io
from urllib.request import urlopen
from xml.etree import ElementTree

from matplotlib.figure import Figure
from PIL import Image

from reports.figures.svg import COLOURS, PNG_DOTS_PER_INCH, figure_style, to_svg


def test_a_figure_is_downloaded_as_svg_and_png() -> None:
    with figure_style():
        figure = Figure(figsize=(4, 2))
        axes = figure.subplots()
        axes.bar(["a < b"], [1], color=COLOURS["variant"])
        drawn = to_svg(figure, "bars", "A title", "A description")
    svg, png = drawn.downloads("My study")
    assert [(one.name, one.label) for one in (svg, png)] == [
        ("my-study-bars.svg", "SVG"),
        ("my-study-bars.png", "PNG"),
    ]
    text = urlopen(svg.url).read().decode()
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.attrib["font-family"].endswith("sans-serif") and "var(" not in text
    assert COLOURS["variant"] in text and "a &lt; b" in text
    image = Image.open(io.BytesIO(urlopen(png.url).read()))
    assert image.size == (4 * PNG_DOTS_PER_INCH, 2 * PNG_DOTS_PER_INCH)
    assert image.mode == "P"
    pixels = image.convert("RGB")
    assert pixels.getpixel((0, 0)) == (255, 255, 255)
    common = [colour for _, colour in sorted(pixels.getcolors() or [])[-2:]]
    blue = tuple(bytes.fromhex(COLOURS["variant"][1:]))
    assert any(
        max(abs(one - other) for one, other in zip(colour, blue, strict=True)) <= 3
        for colour in common
    )
    # The same figure gives the same bytes.
    assert drawn.downloads("My study") == [svg, png]
