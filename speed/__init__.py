"""The same networks, computed faster. You do not need this package to learn how training works.

On a CPU, `arithmetic.py` chooses the precision, `cpu/fused.py` finds layers that can be computed
together and connects them to PyTorch's autograd, and `cpu/fused_layer.py` calls the kernels:
`cpu/convolution.py` (with `cpu/tiles.py` and `cpu/microkernels.py`) and `cpu/epilogues.py`, which
share `cpu/kernels.py`. `cpu/warp.py` augments images.
On a GPU, `gpu/wide.py` joins many networks into one, and `gpu/capture.py` replays its steps.
"""
