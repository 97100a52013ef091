"""The notebook runs from top to bottom and prints what it trained."""

import re
import sys
from pathlib import Path

import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient

from ablations.analysis.intervals import difference
from ablations.analysis.spread import pool_variance, resolution_pct
from reports.text.wording import interval, signed

REPOSITORY = Path(__file__).resolve().parents[1]
PATH = REPOSITORY / "docs" / "ablation_tour.ipynb"
OTHER_SETTINGS = """
import sys
print("kernel:", sys.executable)
DATASET_NAME = "digits"
SEEDS = (0, 1, 2)
NUM_IMAGES_SHORT = 1_000
"""


def load_notebook() -> nbformat.NotebookNode:
    return nbformat.read(PATH, as_version=4)


@pytest.fixture
def executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nbformat.NotebookNode:
    """The notebook after a run on the digits, in an empty folder, by this Python."""
    notebook = load_notebook()
    [settings] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    settings.source += OTHER_SETTINGS
    # Its own kernel name, so that no installed kernel is used instead.
    write_kernel_spec(tmp_path / "jupyter" / "kernels" / "this-python")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    work = tmp_path / "work"
    work.mkdir()
    resources = {"metadata": {"path": str(work)}}
    NotebookClient(notebook, kernel_name="this-python", timeout=300, resources=resources).execute()
    assert list(work.iterdir()) == [], "it leaves no files"
    return notebook


def test_it_prints_the_network_and_the_comparison(executed: nbformat.NotebookNode) -> None:
    outputs = [one for cell in executed.cells if cell.cell_type == "code" for one in cell.outputs]
    assert not [one for one in outputs if one.output_type == "error"]
    assert all(cell.execution_count for cell in executed.cells if cell.cell_type == "code")
    text = "".join(one.text for one in outputs if one.output_type == "stream")
    assert f"kernel: {sys.executable}\n" in text
    assert "18,962 parameters, 43,538 no-gap" in text and "the catalogue's: True" in text
    assert "NOTE: These are not MNIST's numbers." in text and "This was a short run" in text
    # The digits have 360 test images, so two decimals give the exact number of correct ones.
    found = re.findall(r"seed (\d): target (\S+) %, no-gap (\S+) %", text)
    target, variant = (
        {int(line[0]): round(float(line[column]) * 3.6) / 3.6 for line in found}
        for column in (1, 2)
    )
    runs = {"no-gap": variant, "target": target}
    groups = {name: list(by_seed.values()) for name, by_seed in runs.items()}
    expected = difference("no-gap", "target", runs, pool_variance(groups, resolution_pct(360)))
    assert expected.interval_95 and len(found) == 3
    assert f"difference of the means: {signed(expected.mean, 3)} points, 3 seeds each\n" in text
    assert f"95 % interval: {interval(expected.interval_95)}\n" in text
    assert "verdict on removing it, in a run of this length: " in text
    assert re.search(r"The target predicts \d; the true class is \d\.", text)
    drawn = {
        cell.id
        for cell in executed.cells
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))
    }
    assert drawn == {"curves", "differences", "wrong"}


def test_it_is_committed_without_outputs_and_addresses() -> None:
    notebook, text = load_notebook(), PATH.read_text(encoding="utf-8")
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert re.fullmatch(r"[a-z-]+", cell.id)
        if cell.cell_type == "code":
            assert cell.execution_count is None and cell.outputs == []
    # As Jupyter writes it, so that saving it there changes no other line.
    assert text == nbformat.writes(notebook) + "\n"
    assert not re.search(r"/(home|root|tmp|work|Users|content|mnt)/|[A-Z]:\\\\|https?://", text)
    for path in re.findall(r"\]\(([^)#]+)\)", text):
        assert (PATH.parent / path).exists(), path
