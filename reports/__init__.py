"""What a study's results look like on paper: one HTML file that needs nothing else to open.

This package renders what it is handed: it trains nothing, decides nothing, and looks for no files.
Read `html/page.py` (the document), `text/wording.py` (its sentences), `figures/effects.py` (its pictures) and
`figures/svg.py` (how a picture becomes part of the document), in this order.
"""
