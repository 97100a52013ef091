"""Reports of a study: an HTML page, Markdown, README and lesson.

This package only renders: it trains nothing, computes no statistics and searches no files.
Read `html/page.py` (the document), `text/answer.py` and `text/templates/` (its sentences),
`figures/effects.py` (one of its figures) and `figures/svg.py` (how a figure becomes part of the
document), in this order.
"""
