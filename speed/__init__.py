"""The same networks, computed faster. You do not need this package to learn how training works.

On a CPU, `arithmetic.py` chooses the precision, `cpu/epilogues.py` finds layers that can be
computed together, `cpu/fused.py` connects them to PyTorch's autograd, and `cpu/fused_layer.py`
calls the kernels: `cpu/convolution.py` (with `cpu/tiles.py` and `cpu/microkernels.py`),
`cpu/kernels.py` and `cpu/pooling.py`. `cpu/warp.py` augments images.
On a GPU, `gpu/wide.py` joins many networks into one, and `gpu/capture.py` replays its steps.
"""
