"""The files that a study's results are exported to: equal to the records, and valid in their formats."""

import csv
import gzip
import re
from collections.abc import Callable
from dataclasses import replace
from urllib.request import urlopen

import msgspec
import pytest

from ablations.analysis.summary import Results, summarise
from ablations.catalogue.designs import CORE, design_ablations
from ablations.records.study_spec import SeedPlan
from ablations.version import VERSION
from reports.exports import download
from reports.exports.data import epochs_csv, results_csv, summary_csv
from reports.exports.download import file_name
from reports.exports.files import downloads
from reports.exports.references import METHODS, bibtex, references
from reports.exports.tables import latex_tables, markdown_tables
from reports.text.wording import verdict_name
from tests.factories import make_results, make_spec, make_study, make_timing

HOSTILE = r"50 % of {this} & ~#that_one^2 \end{table} $x$ | <b> [1] “×” 5–6"
FACTORIAL = {ablation.name: range(3) for ablation in design_ablations("factorial", CORE)}


@pytest.fixture(scope="module")
def results() -> Results:
    """Combinations, intervals and none, a failed run, and text that every format must escape."""
    found = make_results(
        {**FACTORIAL, "no-relu": range(4), "no-momentum": [0], "no-lr-schedule": range(3)},
        timing=make_timing(["target", "no-relu"]),
        spec=make_spec(title=HOSTILE),
        diverged=["no-lr-schedule"],
    )
    *rows, last = found.rows
    hostile = replace(last.ablation, removes=f"[{HOSTILE}")
    return msgspec.structs.replace(
        found, rows=[*rows, msgspec.structs.replace(last, ablation=hostile)]
    )


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def same(text: str, value: object) -> bool:
    """Whether a field of a CSV file holds exactly this value."""
    return text == "" if value is None else (text == value or float(text) == value)


def test_summary_has_the_numbers_of_every_row(results: Results) -> None:
    rows = [*results.rows, *results.combinations]
    lines = read_csv(summary_csv(results))
    assert [line["ablation"] for line in lines] == [row.ablation.name for row in rows]
    for line, row in zip(lines, rows, strict=True):
        found, verdict = row.difference_pct, row.verdict
        low, high = found.interval_95 if found and found.interval_95 else (None, None)
        new = found.new_images_interval_95 if found else None
        new_low, new_high = new or (None, None)
        expected = {
            "removes": row.ablation.removes,
            "parameters": row.parameters,
            "multiply_adds": row.multiply_adds,
            "seeds": len(row.runs),
            "failed_runs": len(row.failed),
            "accuracy_mean_pct": row.accuracy_pct.mean,
            "accuracy_standard_deviation_points": row.accuracy_pct.standard_deviation,
            "mean_difference_points": found.mean if found else None,
            "interval_95_low": low,
            "interval_95_high": high,
            "new_images_interval_95_low": new_low,
            "new_images_interval_95_high": new_high,
            "spread_used": found.spreads[0] if found else None,
            "target_seeds": found.num_seeds[1] if found else None,
            "direction": verdict.direction if verdict else None,
            "size": verdict.size if verdict else None,
            "median_epoch_seconds_alone": row.epoch_time.median_seconds if row.epoch_time else None,
        }
        wrong = [name for name, value in expected.items() if not same(line[name], value)]
        assert not wrong, (row.ablation.name, wrong)
        has_verdict = row.ablation.kind != "target" and "+" not in row.ablation.name
        assert line["verdict"] == (verdict_name(row, 0.1) if has_verdict else "")
    assert any(line["failed_runs"] != "0" for line in lines)


def test_epochs_are_those_of_the_records(results: Results) -> None:
    epochs = [
        (row.ablation.name, run.run_spec.seed, epoch)
        for row in (*results.rows, *results.combinations)
        for run in row.runs
        for epoch in run.epochs
    ]
    lines = read_csv(epochs_csv(results))
    columns = ("learning_rate", "train_loss", "train_accuracy_pct", "test_loss")
    columns += ("test_accuracy_pct", "seconds")
    for line, (name, seed, epoch) in zip(lines, epochs, strict=True):
        assert (line["ablation"], line["seed"], line["epoch"]) == (
            name,
            str(seed),
            str(epoch.epoch),
        )
        for column in columns:
            value = getattr(epoch, column)
            if value is None:
                assert line[column] == ""
            else:
                # Six significant digits.
                assert float(line[column]) == pytest.approx(value, rel=5.1e-6, abs=0), column
    assert any(line["test_loss"] == "" for line in lines)


def test_runs_have_the_numbers_of_their_records(results: Results) -> None:
    lines = read_csv(results_csv(results))
    runs = [run for row in (*results.rows, *results.combinations) for run in row.runs]
    for line, run in zip(lines, runs, strict=True):
        assert (line["ablation"], int(line["seed"])) == (run.run_spec.ablation, run.run_spec.seed)
        assert same(line["test_accuracy_pct"], run.last_epoch.test_accuracy_pct)
        assert same(line["test_loss"], run.last_epoch.test_loss)


def check_braces(text: str) -> None:
    """Braces are balanced, also where they are escaped: BibTeX counts those, too."""
    depth = 0
    for one in text:
        depth += {"{": 1, "}": -1}.get(one, 0)
        assert depth >= 0
    assert depth == 0


def test_latex_tables_are_balanced_and_escaped(results: Results) -> None:
    text = latex_tables(results)
    check_braces(text)
    needed, *tables = re.split(r"(?=\\begin\{table\})", text)
    assert needed == "% Needs \\usepackage{array,booktabs} in the preamble.\n"
    assert len(tables) == 2 and text.isascii()
    for table, rows in zip(tables, (results.rows, results.combinations), strict=True):
        environments = re.findall(r"\\(begin|end)\{(\w+)\}", table)
        assert [name for _, name in environments] == ["table", "tabular", "tabular", "table"]
        assert re.findall(r"\\(\w+)rule", table) == ["top", "mid", "bottom"]
        [columns] = re.findall(r"\\begin\{tabular\}\{@\{\}(.*)@\{\}\}\n", table)
        words = r">\{\\raggedright\\arraybackslash\}p\{0\.\d+\\linewidth\}"
        num_columns = len(re.sub(words, "l", columns))
        assert set(re.sub(words, "l", columns)) == {"l", "r"}
        lines = re.findall(r"^(.*) \\\\$", table, re.MULTILINE)
        assert len(lines) == 1 + len(rows)
        assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {num_columns - 1}
        [caption] = re.findall(r"\\caption\{(.*)\}\n", table)
        for line in (*lines, caption):
            # What is left without the known commands needs no escape.
            rest = re.sub(
                r"\\(text\w+\{\}|[&%$#_,])|\$(-|\\pm|\\times)\$|\{\[\}|(?<!\\) & ", "", line
            )
            assert not re.search(r"[\\{}$&#_%~^<>]", rest), rest
            assert "$-$" in line or not re.search(r"(?<![-\w])-\d", line)
        assert not re.search(r"^\[", table, re.MULTILINE)


def test_captions_state_data_recipe_seeds_and_intervals() -> None:
    found = make_results({"target": range(5), "no-gap": range(3), "no-relu": range(3)})
    caption = markdown_tables(found).splitlines()[0]
    for words in ("on MNIST", "published recipe, 20 epochs", "3 to 5 seeds", "±0.10 points"):
        assert words in caption
    assert "hold together for 2 comparisons with the target (Dunnett 1955)" in caption
    quick = make_results({"target": range(2), "no-gap": range(2)})
    text = latex_tables(quick)
    assert "There are no intervals" in text and "interval &" not in text and "Dunnett" not in text


def test_markdown_tables_have_equal_columns(results: Results) -> None:
    single, combined = markdown_tables(results).split("\n\n")[1::2]
    for table, rows in ((single, results.rows), (combined, results.combinations)):
        header, rule, *lines = table.strip().splitlines()
        assert len(lines) == len(rows)
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in (header, rule, *lines)}
        assert len(counts) == 1
        assert re.fullmatch(r"\|( -{3}:? \|)+", rule)
        for line, row in zip(lines, rows, strict=True):
            assert f"{row.parameters:,}" in line and f"{row.accuracy_pct.mean:.2f}" in line
    assert r"\<b\>" in single and "<b>" not in single
    assert "1 failed" in single or "3 failed" in single


def entries(results: Results) -> dict[str, dict[str, str]]:
    """The fields of each BibTeX entry by its key."""
    text = bibtex(results)
    check_braces(text)
    found = re.findall(r"^@\w+\{([\w-]+),\n(.*?)\n\}$", text, re.MULTILINE | re.DOTALL)
    fields = {
        key: re.findall(r"^  (\w+) += \{(.*)\},?$", body, re.MULTILINE) for key, body in found
    }
    assert text.count("@") == len(fields)
    return {key: dict(pairs) for key, pairs in fields.items()}


def test_references_are_of_the_study_and_its_methods(results: Results) -> None:
    found = entries(results)
    assert list(found) == ["example-ablations-2026", "dunnett1955", "smyth2004", "shapley1953"]
    assert VERSION in found["example-ablations-2026"]["howpublished"]
    assert found["example-ablations-2026"]["year"] == "2026"
    assert found["shapley1953"]["pages"] == "307--317"
    # Without intervals and without combinations, no method is used.
    seeds = {"target": range(2), "no-gap": [0]}
    study = make_study(seeds)
    late = [
        msgspec.structs.replace(run, finished_at="2031-01-01T00:00:00") for run in study.records
    ]
    late = [study.records[0], *late[1:]]
    [key] = entries(summarise(replace(study, records=tuple(late)))).keys() - {
        "dunnett1955",
        "smyth2004",
    }
    assert key == "example-ablations-2031"
    plan = SeedPlan(looks=(3, 6), ablations=("no-gap",))
    planned = make_results(
        {"target": range(3), "no-gap": range(3)},
        spec=msgspec.structs.replace(make_spec(), seed_plan=plan),
    )
    assert entries(planned)["jennison1989"]["pages"] == "305--361"
    assert "shapley1953" not in entries(planned)
    assert len(references(planned)) == 1 + len({row.ablation.source for row in planned.rows}) + 2
    both = msgspec.structs.replace(planned, attributions=results.attributions)
    assert list(entries(both))[1:] == list(METHODS)


WRITERS: dict[str, Callable[[Results], str]] = {
    "example-summary.csv": summary_csv,
    "example-epochs.csv": epochs_csv,
    "example-tables.tex": latex_tables,
    "example-tables.md": markdown_tables,
    "example-references.bib": bibtex,
}


def test_links_hold_the_files(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    found = downloads(results)
    assert [one.name for one in found] == list(WRITERS)
    for one in found:
        content = WRITERS[one.name](results).encode()
        assert urlopen(one.url).read() == content
        # Base64 would need a third more; every special character costs two bytes.
        assert len(one.url) < (1.05 if "epochs" in one.name else 1.34) * len(content) + 80
        assert one.size == f"{max(1, round(len(content) / 1000))} kB"
    assert downloads(results) == found
    assert downloads(make_results({})) == []
    monkeypatch.setattr(download, "MOST_BYTES", 10_000)
    [large] = [one for one in downloads(results) if one.name.endswith(".gz")]
    assert large.name == "example-epochs.csv.gz"
    assert gzip.decompress(urlopen(large.url).read()).decode() == epochs_csv(results)


@pytest.mark.parametrize(
    ("study", "name"),
    [("MNIST, full", "mnist-full-summary.csv"), ("../..", "summary.csv"), ("", "summary.csv")],
)
def test_file_names_are_safe(study: str, name: str) -> None:
    assert file_name(study, "summary.csv") == name


def test_epochs_of_a_large_study_fit_into_a_page() -> None:
    study = make_study({"target": range(50), "no-gap-matched": range(50)})
    url = downloads(summarise(study))[1].url
    # 500 runs of 20 epochs.
    assert 5 * len(url) < 1_000_000
