"""Jinja for the page, for Markdown documents and for sentences; all data comes from the caller."""

import re
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from ablations.words import duration, plural
from reports.text import wording


def render_markdown(template: str, **data: object) -> str:
    """A document from a template of `reports.documents`."""
    environment = make_environment("reports.documents", is_html=False)
    return environment.get_template(template).render(**data)


def render_text(template: str, **data: object) -> str:
    """A text from a template of this package, without white space at its ends."""
    environment = make_environment("reports.text", is_html=False)
    return environment.get_template(template).render(**data).strip()


def render_sentences(template: str, **data: object) -> str:
    """Such a text as one line."""
    return " ".join(render_text(template, **data).split())


def render_paragraphs(template: str, **data: object) -> list[str]:
    """The paragraphs of such a text, each as one line; empty lines separate them."""
    parts = re.split(r"\n\s*\n", render_text(template, **data))
    return [" ".join(part.split()) for part in parts if part.strip()]


@cache
def make_environment(package: str, *, is_html: bool) -> Environment:
    """The templates of a package. An unknown name is an error; HTML escapes every value."""
    environment = Environment(
        loader=PackageLoader(package),
        autoescape=is_html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters = (
        wording.capitalised,
        wording.decimal,
        duration,
        wording.enumerate_words,
        wording.estimate_words,
        wording.interval,
        plural,
        wording.seeds_words,
        wording.signed,
        wording.two_digits,
    )
    environment.filters |= {one.__name__: one for one in filters}
    environment.filters |= {"python": repr, "thousands": "{:,}".format}
    environment.filters["removes"] = wording.REMOVED_WORDS.__getitem__
    verdicts = (
        wording.verdict_name,
        wording.verdict_details,
        wording.failures_words,
        wording.is_judged_by_failures,
    )
    environment.globals |= {one.__name__: one for one in verdicts}
    return environment
