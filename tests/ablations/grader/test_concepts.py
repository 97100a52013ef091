"""Concepts are found by what a network computes, not by its names."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ablations.analysis.requirements import CONCEPTS
from ablations.catalogue.entries import find_ablation
from ablations.grader.grade import grade_network
from ablations.grader.protocol import WorkerTask
from ablations.grader.worker import inspect_network


@pytest.mark.parametrize(
    ("name", "forward"),
    [
        *((name, "") for name in ("Layers", "Functions", "Products", "Lazy", "make", "MODULE")),
        ("SPEC", ""),
        (
            "Einsum",
            "return torch.einsum('bc,oc->bo', self.features(x).mean(axis=(2, 3)), self.conv.weight)",
        ),
        (
            "ChannelsLast",
            "return self.conv(torch.mean(self.features(x).permute(0, 2, 3, 1), axis=[1, 2]))",
        ),
        ("LargeKernel", "return self.conv(F.avg_pool2d(self.features(x), 26).flatten(1))"),
    ],
)
def test_all_concepts_are_found(
    student_task: Callable[..., WorkerTask], name: str, forward: str
) -> None:
    inspection = inspect_network(student_task(name, forward=forward))
    assert inspection.concepts == list(CONCEPTS)
    assert not inspection.notes


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
        "globals().update({entry.name: entry.network_spec for entry in CATALOGUE})\n"
    )
    for name in ("target", "no-batchnorm", "no-dropout", "no-fc-head", "no-gap"):
        inspection = inspect_network(WorkerTask(str(path), name, 1, "published", "digits"))
        network = find_ablation(name).network_spec
        assert inspection.concepts == [name for name, uses in CONCEPTS.items() if uses(network)]
