"""The report of a study: one HTML file that opens offline."""

import base64
import csv
import functools
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import resources

from jinja2 import Environment
from markupsafe import Markup, escape

from ablations.analysis.replication import replication_rows
from ablations.analysis.summary import Results
from ablations.catalogue.ablation import spec_changes
from ablations.catalogue.designs import CORE
from ablations.inspection.load import Exhibits
from ablations.training import augmentation
from ablations.words import VERDICT_SYMBOLS
from mnist_blocks.spec import IMAGE_SIZE
from mnist_blocks.summary import layer_table
from reports.exports.files import downloads
from reports.exports.references import references
from reports.figures.attribution import combinations_figure
from reports.figures.curves import curve_figure, overview_figure
from reports.figures.diagrams import columns, totals
from reports.figures.effects import cost_figure, effects_figure
from reports.html.confusion import confusion_of
from reports.html.live import image_picture, make_live
from reports.html.mechanisms import make_mechanisms
from reports.text import answer, methods, wording
from reports.text.replication import (
    AGREEMENT_WORDS,
    replication_lead,
    study_labels,
    study_words,
)
from reports.text.templates import make_environment

NO_EXHIBITS = Exhibits()
"""Of a study without the weights of its networks."""


def render_page(
    results: Results, exhibits: Exhibits = NO_EXHIBITS, others: Sequence[Results] = ()
) -> str:
    """The HTML document. The same results and exhibits give the same bytes.

    `others`: studies of other data or recipes, which the page compares with this one.
    """
    study, target, spec = results.study, results.target, results.study.spec
    training, margin_pct = spec.target_training, spec.margin_pct
    published = published_errors_pct() if spec.is_mnist and spec.is_full_length else []
    compared = [row for row in results.rows if row.difference_pct]
    concepts = [row for row in compared if row.ablation.is_core]
    all_rows = [*results.rows, *results.combinations]
    mechanisms, live = make_mechanisms(results, exhibits), make_live(results, exhibits)
    sections = {
        "answer": "Answer",
        "explore": "Explore" if all_rows else "",
        "effects": "All effects" if compared else "",
        "why": "Why" if mechanisms else "",
        "together": "Together" if results.combinations else "",
        "draw": "Draw" if live else "",
        "elsewhere": "Elsewhere" if others else "",
        "data": "Table and export" if all_rows else "",
        "appendix": "Appendix",
    }
    # Its content security policy names the digests of style and script: a browser runs nothing else.
    return template_environment().get_template("page.html").render(
        style=Markup(read_static(".css")),
        script=Markup('"use strict";\n' + read_static(".js")),
        sections={anchor: words for anchor, words in sections.items() if words},
        results=results,
        spec=spec,
        num_images=spec.num_train_images or spec.dataset.num_train,
        target=target,
        notices=answer.notices(spec, study.records),
        answer=answer.answer(results),
        contents=answer.contents(results),
        compared=compared,
        concepts=CORE,
        measured={row.ablation.name for row in all_rows},
        hero=_two_layouts(effects_figure, concepts, margin_pct, "hero") if concepts else None,
        effects=_two_layouts(effects_figure, compared, margin_pct, "effects") if compared else None,
        costs=_two_layouts(cost_figure, compared, target) if compared else None,
        mechanisms=mechanisms,
        live=live,
        elsewhere=_elsewhere([results, *others]) if others else None,
        curves=overview_figure(concepts, target, published) if target else None,
        published=published,
        exhibits=exhibits,
        training=training,
        learning_rates=[training.learning_rate_at(epoch) for epoch in range(1, spec.num_epochs + 1)],
        augmentation=augmentation,
        image_size=IMAGE_SIZE,
        commands=methods.reproduce_commands(results),
        seed_groups=methods.seed_groups(all_rows),
        environments=Counter(record.environment for record in study.records).most_common(),
        num_replicas=max((record.num_replicas for record in study.records), default=1),
        left_out=[*methods.left_out(study), *exhibits.problems],
        downloads=downloads(results),
        references=references(results),
    )  # fmt: skip


def _two_layouts(figure: Callable[..., Markup | None], *values: object) -> tuple[object, object]:
    """The figure for a wide and for a narrow page."""
    return figure(*values), figure(*values, is_narrow=True)


def _elsewhere(studies: Sequence[Results]) -> dict[str, object]:
    """This study and others, side by side."""
    rows = replication_rows(studies)
    return {
        "rows": rows,
        "labels": study_labels([results.study for results in studies]),
        "lead": replication_lead(rows),
        "margins_pct": [results.study.spec.margin_pct for results in studies],
        "studies": [
            " ".join([study_words(one), *answer.notices(one.study.spec, one.study.records)])
            for one in studies
        ],
    }


def published_errors_pct() -> list[float]:
    """Test error after each epoch of the published run, which had 10,000 test images."""
    lines = csv.DictReader(read_text("published_log.csv").splitlines())
    return [100 - int(line["test_correct"]) / 100 for line in lines]


def read_text(name: str) -> str:
    """A file of this package."""
    return (resources.files("reports.html") / name).read_text(encoding="utf-8")


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


def _linked(source: str) -> Markup:
    """A source with links to the arXiv papers that it names."""
    return Markup(
        re.sub(
            r"arXiv:(\d{4}\.\d{4,5})",
            r'<a href="https://arxiv.org/abs/\1">arXiv:\1</a>',
            str(escape(source)),
        )
    )


@functools.cache
def template_environment() -> Environment:
    """Jinja with what the templates of the page use."""
    environment = make_environment("reports.html", is_html=True)
    environment.finalize = _tie_percent_signs
    functions = (
        answer.attribution_lead,
        columns,
        confusion_of,
        combinations_figure,
        curve_figure,
        image_picture,
        layer_table,
        spec_changes,
        totals,
        wording.right_guesses,
    )
    environment.filters |= {"linked": _linked, "policy_digest": _policy_digest}
    environment.globals |= {one.__name__: one for one in functions}
    environment.globals |= {
        "agreement_words": AGREEMENT_WORDS,
        "effect_symbols": wording.EFFECT_SYMBOLS,
        "verdict_symbols": VERDICT_SYMBOLS,
        "verdict_words": wording.VERDICT_WORDS,
    }
    return environment


def _tie_percent_signs(value: object) -> object:
    """Text with every percent sign tied to its number; markup and other values unchanged."""
    is_text = isinstance(value, str) and not isinstance(value, Markup)
    return str(value).replace(" %", "\N{NO-BREAK SPACE}%") if is_text else value
