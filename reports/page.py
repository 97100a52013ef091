"""From a study's results to one HTML file that opens without a network."""

import base64
import csv
import hashlib
import re
from importlib import resources
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ablations.ablation import Change
from ablations.results import AblationResult, Results
from ablations.words import VERDICT_SYMBOLS, plural
from mnist_blocks.summary import LayerRow, layer_table
from reports import evidence, methods, wording


class AblationSection(NamedTuple):
    """What the page shows of one entry: its numbers, and what is drawn and derived from them."""

    row: AblationResult
    anchor: str
    changes: list[Change]
    layers: list[LayerRow]
    curves: Markup


def render_page(results: Results) -> str:
    """The whole HTML document. The same results give the same bytes.

    Style, figures and numbers are inside; the page's own policy forbids it to load anything.
    """
    # Seaborn takes more than a second to import, and only this function needs it.
    from reports import figures

    study, target = results.study, results.target
    published = published_errors_pct() if study.spec.is_mnist and study.spec.is_full_length else []
    compared = [row for row in results.rows if row.difference_pct]
    with_images = [row for row in results.rows if row.variance or row.images]
    has_wrong_images = any(run.wrong_test_images is not None for run in study.records)
    return render_template(
        "page.html",
        results=results,
        spec=study.spec,
        target=target,
        notices=[*wording.notices(study.spec), *wording.chance_notices(study)],
        answer=wording.answer(results),
        timing_notice=wording.timing_notice(results),
        contents=wording.contents(results),
        compared=compared,
        verdicts=evidence.verdict_sentences(compared),
        margin_images=f"{study.spec.margin_pct * study.spec.dataset.num_test / 100:g}",
        has_single_seed=evidence.has_one_seed(compared),
        with_images=with_images,
        has_wrong_images=has_wrong_images,
        together=make_together(results),
        removed_words=wording.REMOVED_WORDS,
        differences=figures.difference_figure(compared, study.spec.margin_pct),
        target_curves=figures.target_curves_figure(target, published) if target else None,
        published=published,
        sections=make_sections(results),
        commands=methods.reproduce_commands(results),
        seed_groups=methods.seed_groups([*results.rows, *results.combinations]),
        recipe=methods.recipe(results),
        environments=methods.environments(study),
        num_replicas=methods.largest_group(study),
        left_out=methods.left_out(study),
    )  # fmt: skip


def make_together(results: Results) -> list[evidence.Together]:
    """What is shown of several ingredients at once; nothing where no such networks were run."""
    from reports.attribution_figures import ladder_figure, worths_figure

    words = wording.REMOVED_WORDS
    return [
        evidence.Together(
            anchor="together" if number == 1 else f"together-{number}",
            words=wording.enumerate_words(words[name] for name in found.names),
            attribution=found,
            lead=evidence.attribution_lead(found, results),
            misled=evidence.misled_sentences(found),
            worths=worths_figure(found, words, f"worths-{number}"),
            ladder=ladder_figure(found, words, f"ladder-{number}") if found.ladder else None,
        )
        for number, found in enumerate(results.attributions, start=1)
    ]


def make_sections(results: Results) -> list[AblationSection]:
    """One section for each entry that has a run, in the order of the catalogue."""
    from reports import figures

    limits_pct = [
        error for row in results.rows for run in row.runs for error in figures.errors_pct(run)
    ]
    return [
        AblationSection(
            row=row,
            anchor=f"entry-{slug(row.ablation.name)}",
            changes=methods.spec_changes(row.runs[0].experiment),
            layers=layer_table(row.runs[0].experiment.network),
            curves=figures.ablation_curves_figure(
                row, results.target, f"curves-{slug(row.ablation.name)}", limits_pct
            ),
        )
        for row in results.rows
    ]


def slug(name: str) -> str:
    """A name as it may stand in an id or a link: small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def published_errors_pct() -> list[float]:
    """Test error after each epoch of the published run, which had 10,000 test images."""
    lines = csv.DictReader(read_text("published_log.csv").splitlines())
    return [100 - int(line["test_correct"]) / 100 for line in lines]


def read_text(name: str) -> str:
    """A file of this package."""
    return (resources.files("reports") / name).read_text(encoding="utf-8")


def render_template(name: str, **values: object) -> str:
    """A whole HTML document, with its style inside and a policy that allows that style alone."""
    style = read_text("static/page.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    template = template_environment().get_template(name)
    return template.render(style=Markup(style), style_digest=digest, **values)


def template_environment() -> Environment:
    """Jinja2 such that every value is escaped, and a misspelt one is an error."""
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "decimal": wording.decimal,
        "signed": wording.signed,
        "interval": wording.interval,
        "plural": plural,
        "enumerate_words": wording.enumerate_words,
        "python": repr,
        "p_value": evidence.p_value,
        "share": evidence.share,
    }
    environment.globals |= {
        "verdict_name": evidence.verdict_name,
        "verdict_details": evidence.verdict_details,
        "verdict_symbols": VERDICT_SYMBOLS,
        "verdict_words": wording.VERDICT_WORDS,
        "environment_rows": methods.environment_rows,
        "differing_fields": methods.differing_fields,
    }
    return environment
