"""The same networks, computed faster. Nobody needs to read this to learn how training works.

On a CPU: `arithmetic.py`, `fused.py`, `kernels.py`, `warp.py`. On a GPU: `wide.py` puts many networks
into one, and `capture.py` replays its steps.
"""
