"""Which version of this project runs."""

VERSION = "0.1.0"
"""Recorded with every run. It stands here so that it goes wherever the source goes."""
