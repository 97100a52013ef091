"""Rendered parts of documents that are otherwise written by hand.

Two lines enclose such a part; arguments and remark are optional:

    <!-- begin: NAME ARGUMENTS; a remark for editors -->
    <!-- end -->
"""

import re
from collections.abc import Callable, Sequence

BEGIN = "<!-- begin: "
END = "<!-- end -->"
PART = re.compile(rf"({re.escape(BEGIN)}(.+?) -->\n).*?({re.escape(END)})", re.DOTALL)


def fill_parts(document: str, make_part: Callable[[str, Sequence[str]], str]) -> str:
    """The document with every part rendered again, from the name and the arguments in its first line.

    Raises:
        ValueError: a line has no counterpart, or the document has no part.
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
