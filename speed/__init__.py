"""The same networks, computed faster. Nobody needs to read this to learn how training works.

On a CPU: `arithmetic.py` chooses, `followers.py` finds what can be computed together, `fused.py`
tells PyTorch of it, `fused_layer.py` calls the loops, and `convolution.py` (with `tiles.py` and
`vectors.py`), `kernels.py`, `pooling.py` and `warp.py` are the loops.
On a GPU: `wide.py` puts many networks into one, and `capture.py` replays its steps.
"""
