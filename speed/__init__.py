"""The same networks, computed faster. Nobody needs to read this to learn how training works.

On a CPU: `arithmetic.py` chooses, `cpu/epilogues.py` finds what can be computed together, `cpu/fused.py`
tells PyTorch of it, `cpu/fused_layer.py` calls the loops, and `cpu/convolution.py` (with `cpu/tiles.py` and
`cpu/microkernels.py`), `cpu/kernels.py`, `cpu/pooling.py` and `cpu/warp.py` are the loops.
On a GPU: `gpu/wide.py` puts many networks into one, and `gpu/capture.py` replays its steps.
"""
