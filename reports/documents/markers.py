"""Documents that are written by hand but for some parts, which are made from records.

Such a part stands between two lines of its own:

    <!-- begin: NAME ARGUMENTS; a remark for whoever edits the file -->
    <!-- end -->

The arguments and the remark may be missing. A document may so ask for the same part several
times, each time of something else.
"""

import re
from collections.abc import Callable, Sequence

BEGIN = "<!-- begin: "
END = "<!-- end -->"
PART = re.compile(rf"({re.escape(BEGIN)}(.+?) -->\n).*?({re.escape(END)})", re.DOTALL)


def fill_parts(document: str, make_part: Callable[[str, Sequence[str]], str]) -> str:
    """The document with every marked part made anew, from the name and the arguments in its mark.

    Raises:
        ValueError: a mark has no other end, or there is none at all.
    """
    num_parts = len(PART.findall(document))
    if not num_parts == document.count(BEGIN) == document.count(END) > 0:
        raise ValueError(
            f"the document needs the lines {BEGIN + 'NAME -->'!r} and {END!r}, one of each for every part"
        )

    def fill(found: re.Match[str]) -> str:
        begin, words, end = found.groups()
        name, *arguments = words.partition(";")[0].split()
        return f"{begin}{make_part(name, arguments)}{end}"

    return PART.sub(fill, document)
