"""Jinja for the page and for Markdown documents, which get all their data from the caller."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from ablations.words import plural
from reports.text.evidence import p_value, verdict_details, verdict_name
from reports.text.wording import decimal, enumerate_words, interval, signed


def render_markdown(template: str, **data: object) -> str:
    """A document from a template of `reports.documents`."""
    environment = make_environment("reports.documents", is_html=False)
    return environment.get_template(template).render(**data)


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
