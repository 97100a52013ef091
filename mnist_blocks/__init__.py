"""Composable building blocks for small image classifiers.

Read `spec.py` (what a network is), `blocks.py` (its parts), `network.py` (how the parts are
combined) and `summary.py` (what each layer costs), in this order.

Importing this package does not import torch; only its other modules need it.
"""

from mnist_blocks.spec import TARGET, NetworkSpec

__all__ = ["TARGET", "NetworkSpec"]
