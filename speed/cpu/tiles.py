"""How a convolution is cut into tiles of sums that fit into a processor's registers."""

from dataclasses import dataclass
from itertools import product

from speed.cpu.microkernels import LANES, REGISTERS

FEWEST_SUMS = 12
"""With fewer sums at a time, each would wait for the last product that was added to it."""
LARGEST_GROUP = 4
"""Words in a group of `add_up_outputs`, at most."""


@dataclass(frozen=True)
class Geometry:
    """The sizes of a convolution with stride 1 over square kernels."""

    height: int
    width: int
    in_channels: int
    out_channels: int
    kernel_size: int
    padding: int

    @property
    def out_height(self) -> int:
        """Of the values it computes."""
        return self.height + 2 * self.padding - self.kernel_size + 1

    @property
    def out_width(self) -> int:
        """Of the values it computes."""
        return self.width + 2 * self.padding - self.kernel_size + 1

    @property
    def reverse(self) -> "Geometry":
        """That of the convolution which gives the gradient with respect to the inputs: over the
        gradient of the values, with each kernel turned by 180 degrees."""
        return Geometry(
            self.out_height,
            self.out_width,
            self.out_channels,
            self.in_channels,
            self.kernel_size,
            self.kernel_size - 1 - self.padding,
        )


@dataclass(frozen=True)
class OutputTiles:
    """How `add_up_outputs` goes through a convolution."""

    rows: int
    pixels: int
    vectors: int
    blocks: int
    """Blocks of `vectors` vectors that make up all channels."""
    group: int
    steps: int
    """Groups of words in one row of a kernel."""


@dataclass(frozen=True)
class GradientTiles:
    """How `add_up_gradients` goes through the weights of a convolution."""

    vectors: int
    vector_blocks: int
    channels: int
    channel_blocks: int


def fits(count: int, vectors: int) -> bool:
    """Whether so many sums of so many vectors fit into the registers, beside what is multiplied."""
    return count * vectors + vectors + 1 <= REGISTERS


def output_tiles(geometry: Geometry, in_word: int) -> OutputTiles:
    """The tiles that take the fewest instructions; `in_word` elements make a word."""
    group = 1
    while group < LARGEST_GROUP and 2 * group * geometry.out_channels <= LANES:
        group *= 2
    num_vectors = -(-geometry.out_channels * group // LANES)
    assert group == 1 or num_vectors == 1  # Neighbouring lanes are added up in one vector.
    vectors = 2 if num_vectors % 2 == 0 else 1
    height, width = geometry.out_height, geometry.out_width

    def cost(tile: tuple[int, int]) -> int:
        rows, pixels = tile
        num_sums = rows * pixels * vectors
        return height // rows * -(-width // pixels) * (max(num_sums, FEWEST_SUMS) + vectors + 1)

    rows, pixels = min(
        (
            (rows, pixels)
            for rows, pixels in product(range(1, height + 1), range(1, width + 1))
            if height % rows == 0 and fits(rows * pixels, vectors)
        ),
        key=cost,
    )
    steps = -(-geometry.kernel_size * geometry.in_channels // (group * in_word))
    return OutputTiles(rows, pixels, vectors, num_vectors // vectors, group, steps)


def gradient_tiles(geometry: Geometry) -> GradientTiles:
    """The tiles that hold the most sums in registers, and of those the squarest."""
    num_vectors = -(-geometry.kernel_size * geometry.in_channels // LANES)
    vectors, channels = max(
        (
            (vectors, channels)
            for vectors, channels in product(range(1, 5), range(1, REGISTERS))
            if num_vectors % vectors == 0
            and geometry.out_channels % channels == 0
            and fits(channels, vectors)
        ),
        key=lambda tile: (tile[0] * tile[1], -tile[0] - tile[1]),
    )
    return GradientTiles(
        vectors, num_vectors // vectors, channels, geometry.out_channels // channels
    )
