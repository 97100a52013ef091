"""What makes training quick, beside the code that says how a network is trained.

`wide.py` puts many networks into one, and `capture.py` replays the steps of a GPU. Whoever wants to
know what a network is reads `mnist_blocks`; how it is trained, `ablations/training.py`.
"""
