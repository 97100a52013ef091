"""GPU steps captured as CUDA graphs and replayed: `step = capture(step)`.

A training step of a small network is about two hundred kernels of a few microseconds each, and
Python needs longer to launch one than the GPU needs to run it. A CUDA graph records the launches,
and the GPU replays them (see "CUDA Graphs" in PyTorch's notes on CUDA semantics).
"""

from collections.abc import Callable

import torch

Steps = Callable[[int, int], None]
Capture = Callable[[Steps, torch.device], Steps]


def capture(function: Steps, device: torch.device) -> Steps:
    """The same function, captured as a CUDA graph for each pair of arguments.

    The function reads its inputs from tensors that stay in place, writes its results to such
    tensors, and returns nothing. It must not read a number from the GPU or draw random numbers.

    The first call with given arguments runs normally, on a stream of its own: libraries then choose
    algorithms and allocate work space, which capture forbids. The second call captures and replays;
    all later calls replay. On a device other than CUDA, returns the function itself.
    """
    if device.type != "cuda":
        return function
    # None: called once, not captured yet.
    graphs: dict[tuple[int, int], torch.cuda.CUDAGraph | None] = {}
    # The graphs run one after another, and none reads what another left in its memory.
    pool = torch.cuda.graph_pool_handle()

    def captured(first: int, second: int) -> None:
        arguments = (first, second)
        if arguments not in graphs:
            _call_on_side_stream(function, *arguments)
            graphs[arguments] = None
            return
        graph = graphs[arguments]
        if graph is None:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool):
                function(*arguments)  # captured, not executed
            graphs[arguments] = graph
        graph.replay()

    return captured


def _call_on_side_stream(function: Steps, first: int, second: int) -> None:
    """Call a function on a stream of its own, in order with all other work."""
    side, current = torch.cuda.Stream(), torch.cuda.current_stream()
    side.wait_stream(current)
    with torch.cuda.stream(side):
        function(first, second)
    current.wait_stream(side)


def use_plain_float32(*, allow_tf32: bool = False, tries_algorithms: bool = True) -> None:
    """Make a GPU compute in float32 as a CPU does, unless TF32 is allowed.

    TF32 keeps 10 of float32's 23 fractional bits in products; PyTorch's default allows it for
    convolutions.

    cuDNN measures its convolution algorithms on the first batch (`cudnn.benchmark`), since its
    heuristics do not suit grouped convolutions of a few channels. So two GPU runs of one
    experiment agree up to rounding, not to the last bit as on a CPU.
    """
    torch.backends.cuda.matmul.allow_tf32 = allow_tf32
    torch.backends.cudnn.allow_tf32 = allow_tf32
    torch.backends.cudnn.benchmark = tries_algorithms
