"""The report of a study, or a page about several: one HTML file that opens offline."""

import base64
import csv
import functools
import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from importlib import resources

from jinja2 import Environment
from markupsafe import Markup

from ablations.analysis.attribution import contribution_with_and_without
from ablations.analysis.replication import replication_rows
from ablations.analysis.summary import TEXT_COLUMNS, AblationResult, Results, results_csv
from ablations.catalogue.ablation import spec_changes
from ablations.inspection.load import Exhibits
from ablations.training import augmentation
from ablations.words import VERDICT_SYMBOLS
from mnist_blocks.spec import IMAGE_SIZE
from mnist_blocks.summary import layer_table
from reports.figures.attribution import contributions_figure
from reports.figures.curves import ablation_curves_figure, errors_pct, target_curves_figure
from reports.figures.diagrams import columns, totals
from reports.figures.differences import difference_figure, replication_figure
from reports.figures.mechanisms import block_labels, network_labels, profile_label
from reports.html.cards import confusion_of, finding
from reports.html.live import image_picture, make_live
from reports.html.mechanisms import make_mechanisms
from reports.text import answer, methods, wording
from reports.text.predict import choices
from reports.text.replication import AGREEMENT_WORDS, replication_lead, study_labels
from reports.text.templates import make_environment

NO_EXHIBITS = Exhibits()
"""Of a study without the weights of its networks."""


def render_page(results: Results, exhibits: Exhibits = NO_EXHIBITS) -> str:
    """The HTML document. The same results and exhibits give the same bytes."""
    study, target, spec = results.study, results.target, results.study.spec
    training = spec.target_training
    published = published_errors_pct() if spec.is_mnist and spec.is_full_length else []
    compared = [row for row in results.rows if row.difference_pct]
    limits_pct = [error for row in results.rows for run in row.runs for error in errors_pct(run)]

    def curves_of(row: AblationResult) -> Markup:
        """The panels of all ablations have the same axes."""
        name = f"curves-{row.ablation.name}"
        return ablation_curves_figure(row, target, name, limits_pct)

    return render_template(
        "page.html",
        has_script=True,
        results=results,
        spec=spec,
        num_images=spec.num_train_images or spec.dataset.num_train,
        target=target,
        notices=answer.notices(spec, study.records),
        answer=answer.answer(results),
        contents=answer.contents(results),
        compared=compared,
        differences=difference_figure(compared, spec.margin_pct),
        mechanisms=make_mechanisms(results, exhibits),
        live=make_live(results, exhibits),
        target_curves=target_curves_figure(target, published) if target else None,
        curves_of=curves_of,
        published=published,
        exhibits=exhibits,
        gallery=exhibits.gallery,
        training=training,
        learning_rates=[training.learning_rate_at(epoch) for epoch in range(1, spec.num_epochs + 1)],
        augmentation=augmentation,
        image_size=IMAGE_SIZE,
        commands=methods.reproduce_commands(results),
        seed_groups=methods.seed_groups([*results.rows, *results.combinations]),
        environments=Counter(record.environment for record in study.records).most_common(),
        num_replicas=max((record.num_replicas for record in study.records), default=1),
        left_out=[*methods.left_out(study), *exhibits.problems],
        downloads=_downloads(results),
    )  # fmt: skip


def render_replication(studies: Sequence[Results]) -> str:
    """Several studies side by side, as one HTML file: do the verdicts of one replicate in the others?"""
    rows = replication_rows(studies)
    labels = study_labels([results.study for results in studies])
    return render_template(
        "replication.html",
        studies=studies,
        notices=[answer.notices(one.study.spec, one.study.records) for one in studies],
        labels=labels,
        rows=rows,
        lead=replication_lead(rows),
        figure=replication_figure(rows, studies, labels) if rows else None,
        agreement_words=AGREEMENT_WORDS,
    )


def _downloads(results: Results) -> dict[str, object] | None:
    """`results.csv` and its file name, for the download buttons. None without a run."""
    if not (results.rows or results.combinations):
        return None
    name = "-".join(filter(None, [_slug(results.study.name), "results"]))
    return {"name": name, "csv": results_csv(results), "text_columns": TEXT_COLUMNS}


def _slug(name: str) -> str:
    """A name for ids and links: small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def published_errors_pct() -> list[float]:
    """Test error after each epoch of the published run, which had 10,000 test images."""
    lines = csv.DictReader(read_text("published_log.csv").splitlines())
    return [100 - int(line["test_correct"]) / 100 for line in lines]


def read_text(name: str) -> str:
    """A file of this package."""
    return (resources.files("reports.html") / name).read_text(encoding="utf-8")


def render_template(name: str, *, has_script: bool = False, **values: object) -> str:
    """An HTML document with its style and script inside.

    Its content security policy names the digests of both, so a browser runs nothing else.
    """
    script = Markup('"use strict";\n' + read_static(".js")) if has_script else None
    template = template_environment().get_template(name)
    return template.render(style=Markup(read_static(".css")), script=script, **values)


def read_static(suffix: str) -> str:
    """All static files with a suffix as one: `page` first, then by name.

    Scripts share their top-level names, and each begins with a `DOMContentLoaded` listener: an
    error in one part of the page leaves the others working.
    """
    names = [file.name for file in (resources.files("reports.html") / "static").iterdir()]
    names = [name for name in names if name.endswith(suffix)]
    names.sort(key=lambda name: (name != f"page{suffix}", name))
    return "\n".join(read_text(f"static/{name}") for name in names)


def _policy_digest(text: str) -> str:
    """The digest of an inline style or script (CSP Level 3, section 2.3.1)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@functools.cache
def template_environment() -> Environment:
    """Jinja with what the templates of the page use."""
    environment = make_environment("reports.html", is_html=True)
    environment.finalize = _tie_percent_signs
    functions = (
        answer.attribution_lead,
        answer.together_sentence,
        block_labels,
        choices,
        columns,
        confusion_of,
        contribution_with_and_without,
        contributions_figure,
        finding,
        image_picture,
        layer_table,
        network_labels,
        profile_label,
        spec_changes,
        totals,
    )
    environment.filters["policy_digest"] = _policy_digest
    environment.globals |= {one.__name__: one for one in functions}
    environment.globals |= {
        "effect_symbols": wording.EFFECT_SYMBOLS,
        "removed_words": wording.REMOVED_WORDS,
        "verdict_symbols": VERDICT_SYMBOLS,
        "verdict_words": wording.VERDICT_WORDS,
    }
    return environment


def _tie_percent_signs(value: object) -> object:
    """Text with every percent sign tied to its number; markup and other values unchanged."""
    is_text = isinstance(value, str) and not isinstance(value, Markup)
    return str(value).replace(" %", "\N{NO-BREAK SPACE}%") if is_text else value
