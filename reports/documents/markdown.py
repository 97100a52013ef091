"""Markdown documents from Jinja templates, which get all their data from the caller."""

import functools

from jinja2 import Environment, PackageLoader, StrictUndefined

from ablations.words import plural
from reports.text.evidence import p_value, verdict_details, verdict_name
from reports.text.wording import decimal, enumerate_words, interval, signed


def render_markdown(template: str, **data: object) -> str:
    """The document that a template of this package gives."""
    return _environment().get_template(template).render(**data)


@functools.cache
def _environment() -> Environment:
    """Jinja for plain text: nothing is escaped, and an unknown name is an error."""
    environment = Environment(
        loader=PackageLoader("reports.documents"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "decimal": decimal,
        "signed": signed,
        "interval": interval,
        "plural": plural,
        "enumerate_words": enumerate_words,
        "p_value": p_value,
        "thousands": "{:,}".format,
    }
    environment.globals |= {"verdict_name": verdict_name, "verdict_details": verdict_details}
    return environment
