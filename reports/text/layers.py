"""An ablation in lines for the terminal, as `cli.py show` prints it."""

from ablations.catalogue.ablation import Ablation
from mnist_blocks.summary import layer_table


def ablation_lines(ablation: Ablation) -> list[str]:
    """Its question, what it changes, and its network layer by layer."""
    title = ablation.name + ("" if ablation.kind == "target" else f": without {ablation.removes}")
    rows = layer_table(ablation.network_spec)
    parameters = sum(row.parameters for row in rows)
    multiply_adds = sum(row.multiply_adds for row in rows)
    return [
        title,
        f"  Question  {ablation.question}",
        f"  Expect    {ablation.expectation}",
        f"  Source    {ablation.source}",
        *(
            f"  Changes   {change.field}: {change.target_value!r} -> {change.value!r}"
            for change in ablation.changes()
        ),
        "",
        _table_line("layer", "output", "parameters", "mult-adds", "field"),
        *(
            _table_line(
                row.description,
                ", ".join(str(side) for side in row.output_shape),
                f"{row.parameters:,}",
                f"{row.multiply_adds:,}",
                str(row.receptive_field),
            )
            for row in rows
        ),
        _table_line("total", "", f"{parameters:,}", f"{multiply_adds:,}", ""),
    ]


def _table_line(layer: str, output: str, parameters: str, multiply_adds: str, field: str) -> str:
    """One line of the layer table."""
    line = f"{layer:<30} {output:<12} {parameters:>10} {multiply_adds:>10} {field:>6}"
    return line.rstrip()
