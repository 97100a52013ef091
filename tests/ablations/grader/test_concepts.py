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
    "name", ["Layers", "Functions", "Products", "Lazy", "make", "MODULE", "SPEC"]
)
def test_all_concepts_are_found(student_task: Callable[..., WorkerTask], name: str) -> None:
    inspection = inspect_network(student_task(name))
    assert inspection.concepts == list(CONCEPTS)
    assert not inspection.notes


AVERAGES = [
    "maps.mean(axis=(-1, -2))",
    "maps.permute(0, 2, 3, 1).mean([1, 2])",
    "maps.permute(0, 2, 3, 1).reshape(len(x), -1, 8).mean(1)",
    "maps.mean(3).mean(2)",
    "F.avg_pool2d(maps, 26).flatten(1)",
    "F.avg_pool2d(maps, (26,)).flatten(1)",
    "F.avg_pool2d(F.avg_pool2d(maps, 2), kernel_size=(13, 13)).flatten(1)",
    "F.adaptive_avg_pool3d(maps[:, :, None], 1).flatten(1)",
    "F.interpolate(maps, size=1, mode='area').flatten(1)",
    "F.conv2d(maps, torch.full((8, 1, 26, 26), 1 / 26**2), groups=8).flatten(1)",
    "torch.einsum('bchw->bc', maps) / 26**2",
    "maps.flatten(2) @ torch.full((26**2,), 1 / 26**2)",
    "maps.sum(3).sum(2) / 26**2",
    "(maps / 26**2).sum((2, 3))",
    "sum(maps[:, :, i, j] for i in range(26) for j in range(26)) / 26**2",
    "torch.std_mean(maps, (2, 3))[1]",
    "torch.cat([half.mean((2, 3)) for half in maps.chunk(2, dim=1)], 1)",
    "(maps[:, :, :13].mean((2, 3)) + maps[:, :, 13:].mean((2, 3))) / 2",
    "torch.stack([one.mean((1, 2)) for one in maps])",
    "OwnMean.apply(maps)",
    "F.adaptive_avg_pool2d(0 * maps, 1).flatten(1)",  # Values do not show what this computes.
]
OWN_MEAN = """
class OwnMean(torch.autograd.Function):
    def forward(context, maps):
        return maps.mean((2, 3))
    def backward(context, gradient):
        return gradient[..., None, None].expand(-1, -1, 26, 26) / 26**2
"""


def test_a_global_average_is_found_however_it_is_written(
    student_task: Callable[..., WorkerTask],
) -> None:
    forward = "def forward(self, x):\n        maps = self.features(x)\n        return self.conv({})"
    source = [
        f"class Net{number}(Layers):\n    {forward.format(average)}"
        for number, average in enumerate(AVERAGES)
    ]
    for number, average in enumerate(AVERAGES):
        task = student_task(f"Net{number}", "\n".join([OWN_MEAN, *source]))
        assert inspect_network(task).concepts == list(CONCEPTS), average


@pytest.mark.parametrize(
    ("average", "reason"),
    [
        ("F.avg_pool2d(maps, 20).flatten(1)", "an average of 20x20 of a 26x26 map is not global"),
        ("maps[:, :, :3, 1:5].mean((2, 3))", "an average of 3x4 of a 26x26 map is not global"),
        ("F.adaptive_avg_pool2d(maps[..., :9], 1).flatten(1)", "of 26x9 of a 26x26 map is not"),
        ("maps[..., ::2, ::2].flatten(2).mean(2)", "of 13x13 of a 26x26 map is not"),
        ("F.avg_pool2d(maps, 13).amax((2, 3))", "pooling of a 26x26 map to 2x2 is not global"),
        ("maps.amax((2, 3))", ""),
        ("maps.sum((2, 3))", ""),
        ("maps.flatten(2).median(2).values", ""),
        ("maps.mean(3).amax(2)", ""),
        ("(maps.mean((2, 3)), maps[..., 0, 0])[1]", ""),
    ],
)
def test_another_pooling_is_not_found_and_a_partial_average_is_explained(
    student_task: Callable[..., WorkerTask], average: str, reason: str
) -> None:
    forward = f"maps = self.features(x); return self.conv({average})"
    inspection = inspect_network(student_task("Net", forward=forward))
    assert list(CONCEPTS.keys() - inspection.concepts) == ["global average pooling"]
    measured = grade_network("x", "mnist", 19, inspection).requirements[1].measured
    assert reason in measured
    assert ("is not global" in measured) == bool(reason)


def test_the_inspection_has_the_recipes_batch_size(student_task: Callable[..., WorkerTask]) -> None:
    """Batch normalisation of parts of a batch needs a batch that can be split."""
    ghost = "maps = self.dropout(x); n, c, h, w = maps.shape; maps = F.batch_norm(maps.view(n // 16, -1, h, w), None, None, training=True)"
    forward = f"{ghost}.view(n, c, h, w); return self.conv(self.linear(maps).mean((2, 3)))"
    inspection = inspect_network(student_task("Net", forward=forward))
    assert inspection.concepts == list(CONCEPTS)


@pytest.mark.parametrize(
    ("forward", "missing"),
    [
        ("super().forward(x); return self.dropout(x)[:, 0].flatten(1)[:, :10]", list(CONCEPTS)),
        # The mean of the images is no global pooling.
        (
            "x = self.features(x - x.mean((2, 3), True)); return self.conv(x.amax((2, 3)))",
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
