"""Concepts are found by what a network computes, not by its names."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ablations.analysis.requirements import CONCEPTS
from ablations.grader.grade import grade_network
from ablations.grader.protocol import WorkerTask
from ablations.grader.worker import inspect_network


@pytest.mark.parametrize(
    "name", ["Layers", "Functions", "Products", "Lazy", "make", "MODULE", "SPEC"]
)
def test_all_concepts_are_found(student_task: Callable[..., WorkerTask], name: str) -> None:
    inspection = inspect_network(student_task(name))
    assert inspection.concepts == list(CONCEPTS)
    assert not inspection.notes


@pytest.mark.parametrize(
    "forward",
    [
        "return torch.einsum('bc,oc->bo', self.features(x).mean(axis=(2, 3)), self.conv.weight)",
        "return self.conv(torch.mean(self.features(x).permute(0, 2, 3, 1), axis=[1, 2]))",
        "return self.conv(F.avg_pool2d(self.features(x), 26).flatten(1))",
    ],
)
def test_all_concepts_are_found_in_functions(
    student_task: Callable[..., WorkerTask], forward: str
) -> None:
    assert inspect_network(student_task("Net", forward=forward)).concepts == list(CONCEPTS)


@pytest.mark.parametrize(
    ("forward", "missing"),
    [
        ("super().forward(x); return self.dropout(x)[:, 0].flatten(1)[:, :10]", list(CONCEPTS)),
        # The mean of the images, and that of a part of a feature map, are no global pooling.
        (
            "x = self.features(x - x.mean((2, 3), True)); return self.conv(F.avg_pool2d(x, 20).flatten(1))",
            ["global average pooling"],
        ),
        ("self.linear.p = 0; return super().forward(x)", ["dropout"]),
        ("self.linear.eval(); return super().forward(x)", ["dropout"]),
        ("self.pool.eval(); return super().forward(x)", ["batch normalisation"]),
        (
            "return F.conv2d(self.norm(self.features(x)), self.conv.weight[..., None, None]).flatten(1)",
            ["a fully connected layer"],
        ),
    ],
)
def test_concepts_that_the_output_does_not_use_are_not_found(
    student_task: Callable[..., WorkerTask], forward: str, missing: list[str]
) -> None:
    inspection = inspect_network(student_task("Net", forward=forward))
    assert [concept for concept in CONCEPTS if concept not in inspection.concepts] == missing
    requirement = grade_network("x", "mnist", 19, inspection).requirements[1]
    assert requirement.verdict == "fail"
    assert all(concept in requirement.measured for concept in missing)


def test_concepts_of_the_catalogue_match_its_specs(tmp_path: Path) -> None:
    path = tmp_path / "networks.py"
    path.write_text(
        "from ablations.catalogue.entries import CATALOGUE\n"
        "for entry in CATALOGUE:\n"
        "    globals()[entry.name.replace('-', '_')] = entry.network_spec\n"
    )

    def missing(name: str) -> list[str]:
        inspection = inspect_network(WorkerTask(str(path), name, 1, "digits"))
        return [concept for concept in CONCEPTS if concept not in inspection.concepts]

    assert missing("target") == []
    assert missing("no_batchnorm") == ["batch normalisation"]
    assert missing("no_dropout") == ["dropout"]
    assert missing("no_fc_head") == ["a fully connected layer"]
    assert missing("no_gap") == ["global average pooling"]
