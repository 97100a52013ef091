"""Steps of a GPU, recorded once and replayed: `step = capture(step)` is all that a loop sees.

A step of a small network is some two hundred kernels of a few microseconds each, and Python needs
longer to launch one than the GPU needs to finish it. A CUDA graph is the recording of all the
launches, which the GPU replays by itself ("CUDA Graphs" in PyTorch's notes on CUDA semantics).
"""

from collections.abc import Callable

import torch

Steps = Callable[[int, int], None]


def capture(function: Steps, device: torch.device) -> Steps:
    """The same function, which a GPU records for each pair of arguments and then replays.

    The function may only work on tensors that stay where they are: it reads its inputs from them
    and leaves its results in them, and returns nothing. It must not read a number from the GPU or
    draw random numbers.

    The first call with given arguments is an ordinary one, on a stream of its own: libraries
    choose their algorithms and make their work space then, which a recording forbids. It is a
    real call, with real effects. The second records and replays; all later ones replay. Without a
    GPU the function comes back as it is.
    """
    if device.type != "cuda":
        return function
    # None: called once, not recorded yet.
    graphs: dict[tuple[int, int], torch.cuda.CUDAGraph | None] = {}
    # The graphs run one after another, and nothing that one leaves in its memory is read later.
    pool = torch.cuda.graph_pool_handle()

    def captured(first: int, second: int) -> None:
        arguments = (first, second)
        if arguments not in graphs:
            call_on_side_stream(function, *arguments)
            graphs[arguments] = None
            return
        graph = graphs[arguments]
        if graph is None:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool):
                function(*arguments)  # recorded, not done
            graphs[arguments] = graph
        graph.replay()

    return captured


def call_on_side_stream(function: Steps, first: int, second: int) -> None:
    """Call a function on a stream of its own, after all that was queued and before all to come."""
    side, current = torch.cuda.Stream(), torch.cuda.current_stream()
    side.wait_stream(current)
    with torch.cuda.stream(side):
        function(first, second)
    current.wait_stream(side)


def use_plain_float32(*, allow_tf32: bool = False, tries_algorithms: bool = True) -> None:
    """Make a GPU compute in float32 as a CPU does, unless TF32 is asked for.

    TF32 keeps 10 of float32's 23 fractional bits in products. PyTorch allows it for convolutions
    when nobody says otherwise, and a study's numbers should not hang on that.

    Convolution algorithms are chosen by trying them out on the first batch (`cudnn.benchmark`):
    grouped convolutions of a few channels are far from what the heuristics were made for. So two
    runs of one experiment on a GPU agree up to rounding, not to the last bit as on a CPU.
    """
    torch.backends.cuda.matmul.allow_tf32 = allow_tf32
    torch.backends.cudnn.allow_tf32 = allow_tf32
    torch.backends.cudnn.benchmark = tries_algorithms
