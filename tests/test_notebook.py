"""The notebook runs from top to bottom, and what it says is so."""

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
import torch
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient

from ablations.analysis.statistics import paired_difference
from ablations.analysis.verdicts import decide_verdicts
from ablations.catalogue.entries import find_ablation
from ablations.catalogue.experiment import TARGET_TRAINING, RunSpec
from ablations.data.datasets import Dataset
from ablations.training.loop import train
from reports.text.evidence import verdict_name
from reports.text.wording import interval, signed

REPOSITORY = Path(__file__).resolve().parents[1]
PATH = REPOSITORY / "docs" / "ablation_tour.ipynb"
SEEDS = (0, 1)
NUM_IMAGES = 1_000
ABLATION = "no-gap"
OTHER_SETTINGS = f"""
import sys
print("kernel:", sys.executable)
DATASET_NAME = "digits"
SEEDS = {SEEDS}
NUM_IMAGES_SHORT = {NUM_IMAGES}
"""


def load() -> nbformat.NotebookNode:
    return nbformat.read(PATH, as_version=4)


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[nbformat.NotebookNode]:
    """The notebook after a run on the digits, in a folder of its own, by this Python."""
    folder = tmp_path_factory.mktemp("notebook")
    # A kernel of a name of its own: none that is installed can take its place.
    write_kernel_spec(folder / "jupyter" / "kernels" / "this-python")
    notebook = load()
    [place] = [
        number
        for number, cell in enumerate(notebook.cells, start=1)
        if "parameters" in cell.metadata.get("tags", [])
    ]
    notebook.cells.insert(place, nbformat.v4.new_code_cell(OTHER_SETTINGS))
    work = folder / "work"
    work.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(folder / "jupyter"))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        client = NotebookClient(
            notebook,
            kernel_name="this-python",
            timeout=300,
            resources={"metadata": {"path": str(work)}},
        )
        client.execute()
    assert list(work.iterdir()) == [], "it leaves no files"
    yield notebook


def printed(notebook: nbformat.NotebookNode) -> str:
    """All that the cells printed."""
    return "".join(
        output.text
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "stream"
    )


def test_it_ran_here_and_to_the_end(executed: nbformat.NotebookNode) -> None:
    assert f"kernel: {sys.executable}\n" in printed(executed)
    for cell in executed.cells:
        if cell.cell_type == "code":
            assert cell.execution_count
            assert not [output for output in cell.outputs if output.output_type == "error"]


def test_it_shows_the_network_and_what_is_taken_out(executed: nbformat.NotebookNode) -> None:
    text = printed(executed)
    assert "18,962 parameters\n" in text
    assert "18,962 parameters, 43,538 no-gap" in text
    assert "the catalogue's: True" in text
    [table] = [cell for cell in executed.cells if cell.id == "build"]
    [shown] = [output for output in table.outputs if output.output_type == "execute_result"]
    assert "stage1.block1.conv" in shown.data["text/plain"]


def test_it_compares_what_was_trained(executed: nbformat.NotebookNode, digits: Dataset) -> None:
    length = replace(TARGET_TRAINING, num_epochs=2, num_train_images=NUM_IMAGES, batch_size=16)
    accuracy_pct: dict[str, dict[int, float]] = {"target": {}, ABLATION: {}}
    for name, by_seed in accuracy_pct.items():
        for seed in SEEDS:
            network = find_ablation(name).network_spec
            run_spec = RunSpec(name, network, length, digits.id, seed)
            trained = train(run_spec, digits, torch.device("cpu"))
            by_seed[seed] = trained.epochs[-1].test_accuracy_pct
    difference = paired_difference(accuracy_pct[ABLATION], accuracy_pct["target"])
    assert difference is not None and difference.interval_95 is not None
    text = printed(executed)
    assert f"paired difference: {signed(difference.mean, 3)} points, mean of 2 seeds\n" in text
    assert f"95 % interval: {interval(difference.interval_95)}\n" in text
    verdict = verdict_name(decide_verdicts({ABLATION: difference})[ABLATION])
    assert f"it, in a run of this length: {verdict} (margin 0.10 points)" in text


def test_it_is_honest_about_a_short_run_on_other_data(executed: nbformat.NotebookNode) -> None:
    text = printed(executed)
    assert "NOTE: These are not MNIST's numbers." in text
    assert "NOTE: Training was shorter" in text
    assert "This was a short run" in text


def test_it_draws(executed: nbformat.NotebookNode) -> None:
    drawn = {
        cell.id
        for cell in executed.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    }
    assert drawn == {"curves", "differences", "wrong"}
    assert re.search(r"The target says \d; it is \d\.", printed(executed))


def test_it_is_committed_without_outputs() -> None:
    notebook = load()
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    for cell in notebook.cells:
        assert re.fullmatch(r"[a-z-]+", cell.id)
        if cell.cell_type == "code":
            assert cell.execution_count is None and cell.outputs == []
    assert PATH.stat().st_size < 30_000
    # As Jupyter writes it, so that saving it there changes no other line.
    assert PATH.read_text() == nbformat.writes(notebook) + "\n"


def test_it_names_no_machine_and_no_address() -> None:
    text = PATH.read_text()
    assert not re.search(r"/(home|root|tmp|work|Users|content|mnt)/|[A-Z]:\\\\|https?://", text)


def test_files_that_it_points_at_exist() -> None:
    for path in re.findall(r"\]\(([^)#]+)\)", PATH.read_text()):
        assert (PATH.parent / path).exists(), path
