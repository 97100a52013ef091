"""How a convolution is cut into tiles of sums that fit into a processor's registers."""

from dataclasses import dataclass
from itertools import product

from speed.cpu.microkernels import LANES, REGISTERS

MIN_SUMS = 12
"""With fewer sums at a time, each waits for the last product that was added to it."""
MIN_LANES = 4
"""Of a vector for the gradient of weights."""
MIN_CHANNELS = 8
"""Winograd's algorithm needs a multiple of them."""
WINOGRAD_PRODUCTS = 16
"""For each tile of 2x2 outputs, channel by channel; the usual algorithm needs 36."""
MAX_GROUP = 4
"""Words in a group of `accumulate_outputs`, at most."""


@dataclass(frozen=True)
class Geometry:
    """The sizes of a convolution with stride 1 and square kernels."""

    height: int
    width: int
    in_channels: int
    out_channels: int
    kernel_size: int
    padding: int

    @property
    def out_height(self) -> int:
        """Height of the output."""
        return self.height + 2 * self.padding - self.kernel_size + 1

    @property
    def out_width(self) -> int:
        """Width of the output."""
        return self.width + 2 * self.padding - self.kernel_size + 1

    @property
    def padded_row(self) -> int:
        """Elements in a padded row of the input. At least one pixel of zeros ends it: the
        neighbour of the last pixel, where two make a word."""
        return (self.width + max(2 * self.padding, 1)) * self.in_channels

    @property
    def reverse(self) -> "Geometry":
        """The convolution that gives the gradient with respect to the input: over the gradient of
        the output, with each kernel rotated by 180 degrees."""
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
    """How `accumulate_outputs` goes through a convolution. Shapes are (rows, columns)."""

    geometry: Geometry
    word_size: int
    """Elements in a word."""
    rows: int
    pixels: int
    vectors: int
    blocks: int
    """Blocks of `vectors` vectors that make up all channels."""
    group: int
    steps: int
    """Groups of words in one row of a kernel."""

    @property
    def block_channels(self) -> int:
        """Channels of a block, perhaps more than there are."""
        return self.vectors * LANES // self.group

    @property
    def packed_shape(self) -> tuple[int, int]:
        """Shape of the packed weights."""
        num_rows = self.blocks * self.geometry.kernel_size * self.steps * self.vectors
        return num_rows, LANES * self.word_size

    @property
    def padded_shape(self) -> tuple[int, int]:
        """Shape of a padded image. The last step of a kernel's row may read beyond the image,
        words that are multiplied by weights of 0."""
        num_extra_rows = -(-self.group * self.word_size // self.geometry.padded_row)
        num_rows = self.geometry.height + 2 * self.geometry.padding + num_extra_rows
        return num_rows, self.geometry.padded_row

    @property
    def sums_shape(self) -> tuple[int, int]:
        """Shape of the sums of a row of tiles."""
        return self.rows, self.blocks * self.geometry.out_width * self.block_channels + LANES


@dataclass(frozen=True)
class GradientTiles:
    """How `accumulate_weight_gradients` goes through the weights of a convolution."""

    lanes: int
    """Of a vector: as many as a row of a kernel fills."""
    vectors: int
    vector_blocks: int
    channels: int
    channel_blocks: int

    @property
    def block_lanes(self) -> int:
        """Numbers in the vectors of a tile."""
        return self.vectors * self.lanes

    @property
    def size(self) -> int:
        """Sums of a tile."""
        return self.channels * self.block_lanes

    @property
    def num_tiles(self) -> int:
        """Tiles for one row of all kernels."""
        return self.vector_blocks * self.channel_blocks


@dataclass(frozen=True)
class WinogradTiles:
    """How `winograd.py` goes through a convolution with 3x3 kernels."""

    geometry: Geometry

    @property
    def rows(self) -> int:
        """Rows of tiles, of 2x2 outputs each."""
        return -(-self.geometry.out_height // 2)

    @property
    def columns(self) -> int:
        """Tiles in a row."""
        return -(-self.geometry.out_width // 2)

    @property
    def padded_row(self) -> int:
        """Elements in a padded row of the input: a tile reads two pixels more than it has outputs."""
        return (2 * self.columns + 2) * self.geometry.in_channels

    @property
    def padded_shape(self) -> tuple[int, int]:
        """Shape of a padded image."""
        return 2 * self.rows + 2, self.padded_row

    @property
    def product(self) -> Geometry:
        """One of the sixteen products of a row of tiles: a 1x1 convolution, of which each tile is a pixel."""
        geometry = self.geometry
        return Geometry(1, self.columns, geometry.in_channels, geometry.out_channels, 1, 0)

    @property
    def packed_shape(self) -> tuple[int, int]:
        """Shape of the packed weights of all products."""
        num_rows, row_size = output_tiles(self.product, 1).packed_shape
        return WINOGRAD_PRODUCTS * num_rows, row_size


def winograd_tiles(geometry: Geometry, word_size: int) -> WinogradTiles | None:
    """None where Winograd's algorithm does not apply or does not pay: other kernels, bfloat16 (its
    sums of inputs need more digits), and channels that do not fill the vectors."""

    def fill_vectors(channels: int) -> bool:
        tiles = output_tiles(Geometry(1, 1, MIN_CHANNELS, channels, 1, 0), 1)
        return channels % MIN_CHANNELS == 0 and channels == tiles.blocks * tiles.block_channels

    is_possible = geometry.kernel_size == 3 and word_size == 1
    is_full = fill_vectors(geometry.in_channels) and fill_vectors(geometry.out_channels)
    return WinogradTiles(geometry) if is_possible and is_full else None


def _fits(count: int, vectors: int) -> bool:
    """Whether `count` sums of `vectors` vectors fit into the registers, with their factors."""
    return count * vectors + vectors + 1 <= REGISTERS


def output_tiles(geometry: Geometry, word_size: int) -> OutputTiles:
    """The tiles that take the fewest instructions."""
    group = 1
    while group < MAX_GROUP and 2 * group * geometry.out_channels <= LANES:
        group *= 2
    num_vectors = -(-geometry.out_channels * group // LANES)
    assert group == 1 or num_vectors == 1  # Neighbouring lanes are added up in one vector.
    vectors = 2 if num_vectors % 2 == 0 else 1
    height, width = geometry.out_height, geometry.out_width

    def cost(tile: tuple[int, int]) -> int:
        rows, pixels = tile
        num_sums = rows * pixels * vectors
        return height // rows * -(-width // pixels) * (max(num_sums, MIN_SUMS) + vectors + 1)

    rows, pixels = min(
        (
            (rows, pixels)
            for rows, pixels in product(range(1, height + 1), range(1, width + 1))
            if height % rows == 0 and _fits(rows * pixels, vectors)
        ),
        key=cost,
    )
    steps = -(-geometry.kernel_size * geometry.in_channels // (group * word_size))
    blocks = num_vectors // vectors
    return OutputTiles(geometry, word_size, rows, pixels, vectors, blocks, group, steps)


def gradient_tiles(geometry: Geometry, word_size: int) -> GradientTiles:
    """The tiles that hold the most sums in registers, and of those the squarest."""
    length, lanes = geometry.kernel_size * geometry.in_channels, LANES
    while word_size == 1 and lanes > MIN_LANES and 2 * length <= lanes:
        lanes //= 2
    num_vectors = -(-length // lanes)
    vectors, channels = max(
        (
            (vectors, channels)
            for vectors, channels in product(range(1, 5), range(1, REGISTERS))
            if num_vectors % vectors == 0
            and geometry.out_channels % channels == 0
            and _fits(channels, vectors)
        ),
        key=lambda tile: (tile[0] * tile[1], -tile[0] - tile[1]),
    )
    return GradientTiles(
        lanes, vectors, num_vectors // vectors, channels, geometry.out_channels // channels
    )
