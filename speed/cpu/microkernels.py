"""The microkernels of a convolution, written for the processor's vector registers.

Numba vectorises loops, but it does not keep a block of sums in registers, and it does not know the
instruction that multiplies bfloat16. So the two innermost loops of a convolution are written in
LLVM's language. Both keep a tile of sums in registers, and repeatedly add to all of them a product
of two things: a vector of adjacent numbers, and one number that is repeated to fill a vector.

The unit of a product is a *word* of 32 bits: one float32, or two bfloat16. Two words multiply to
the product of the floats, or to the dot product of the pairs, in float32. Processors with
AVX512-BF16 have an instruction for the latter (which treats subnormal numbers as 0).

Where a row of a kernel does not fill its last word, weights of 0 do. They are multiplied by numbers
outside the row, so an infinity or a NaN there may reach an output that does not depend on it.
"""

import platform
from contextlib import contextmanager

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

_, _, FEATURES = cpu_target.target_context.codegen().magic_tuple()
"""The processor features that Numba compiles for, as LLVM names them: "+avx2,+fma,...,-avx512f"."""
HAS_BFLOAT16_PRODUCTS = "+avx512bf16" in FEATURES
LANES = 16 if "+avx512f" in FEATURES else 8 if "+avx2" in FEATURES else 4
"""How many 32-bit numbers a vector register holds."""
REGISTERS = 32 if LANES == 16 or platform.machine() in ("arm64", "aarch64") else 16
"""How many vector registers there are."""
BLOCK = 8
"""How many channels `copy_block` copies."""

WORD = ir.IntType(32)
INDEX = ir.IntType(64)
VECTOR = ir.VectorType(ir.FloatType(), LANES)
WORDS = ir.VectorType(WORD, LANES)
ZEROS = ir.Constant(VECTOR, [0.0] * LANES)


class _BFloat16(ir.Type):  # type: ignore[misc]
    """LLVM's type for bfloat16, which llvmlite has no name for."""

    intrinsic_name = "bf16"

    def __str__(self):
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat16)

    def __hash__(self):
        return hash(_BFloat16)


def _add_product(builder, sums, left, right, is_bfloat16):
    """sums + left * right, lane by lane; left and right are vectors of words."""
    if not is_bfloat16:
        return _multiply_and_add(builder, left, right, sums)
    if HAS_BFLOAT16_PRODUCTS and LANES == 16:
        pairs = ir.VectorType(_BFloat16(), 2 * LANES)
        instruction = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(VECTOR, [VECTOR, pairs, pairs]),
            "llvm.x86.avx512bf16.dpbf16ps.512",
        )
        return builder.call(
            instruction, [sums, builder.bitcast(left, pairs), builder.bitcast(right, pairs)]
        )
    # A bfloat16 is the upper half of a float32.
    sixteen = ir.Constant(WORDS, [16] * LANES)
    upper = ir.Constant(WORDS, [0xFFFF0000] * LANES)
    for half in (
        lambda words: builder.shl(words, sixteen),
        lambda words: builder.and_(words, upper),
    ):
        sums = _multiply_and_add(builder, half(left), half(right), sums)
    return sums


def _multiply_and_add(builder, left, right, sums):
    """sums + left * right in float32: one instruction with one rounding, where there is one."""
    left, right = builder.bitcast(left, sums.type), builder.bitcast(right, sums.type)
    products = builder.fmul(left, right, flags=["contract"])
    return builder.fadd(products, sums, flags=["contract"])


def _pointers(context, builder, signature, arguments, count=3):
    """The arrays of a microkernel, each at its first element: arguments begin with (array, index)
    pairs, and arrays are contiguous."""
    starts = [
        context.make_array(signature.args[i])(context, builder, arguments[i]).data
        for i in range(0, 2 * count, 2)
    ]
    return [builder.gep(start, [arguments[2 * i + 1]]) for i, start in enumerate(starts)]


def _advance(builder, pointer, *steps):
    """A pointer advanced by a number of steps, each of a number of elements."""
    for count, size in steps:
        index = ir.Constant(INDEX, count) if isinstance(count, int) else count
        pointer = builder.gep(pointer, [builder.mul(index, ir.Constant(INDEX, size))])
    return pointer


@contextmanager
def _for_range(builder, count):
    """A loop around the code that is generated within the block; gives the loop's index."""
    with cgutils.for_range(builder, ir.Constant(INDEX, count)) as repetition:
        yield repetition.index


def _load(builder, pointer, kind):
    """A value of this type; the pointer need not be aligned to it."""
    value = builder.load(builder.bitcast(pointer, kind.as_pointer()))
    value.align = 2
    return value


def _store(builder, value, pointer):
    """Write a vector of floats; the pointer need not be aligned to it."""
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer())).align = 4


def _broadcast(builder, value, num_words, num_lanes=LANES):
    """A vector that repeats a group of words."""
    lanes = num_lanes // num_words
    kind = ir.VectorType(value.type, lanes)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(WORD, 0))
    same = ir.Constant(ir.VectorType(WORD, lanes), [0] * lanes)
    filled = builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), same)
    return builder.bitcast(filled, ir.VectorType(WORD, num_lanes))


def _sum_neighbours(builder, vectors, group_size):
    """Add up each group of neighbouring lanes; the sums are adjacent, in fewer vectors.

    Lanes at the end that no sum fills hold something else.
    """
    pick = ir.VectorType(WORD, LANES)
    found = list(vectors)
    while group_size > 1:
        even, odd = (ir.Constant(pick, list(range(first, 2 * LANES, 2))) for first in (0, 1))
        pairs = [(one, found[min(i + 1, len(found) - 1)]) for i, one in enumerate(found)][::2]
        found = [
            builder.fadd(builder.shuffle_vector(*pair, even), builder.shuffle_vector(*pair, odd))
            for pair in pairs
        ]
        group_size //= 2
    return found


@intrinsic(prefer_literal=True)
def accumulate_outputs(
    typing_context, inputs, first_input, weights, first_weight,
    out, first_out, sizes
):  # fmt: skip
    """A tile of a convolution's outputs: `rows` x `pixels` of them, `vectors` x LANES numbers each.

    out[r, p, v] = sum over y < `height` and x < `steps` of
        inputs[(r + y) * `input_row` + p * `input_pixel` + x] * weights[y, x, v],

    where an input is a group of `group` words, repeated to fill a vector. If a group has more than
    one word, the channels are few: neighbouring lanes belong to the same channel, each to another
    word of the group, and are added up at the end. Rows of `out` are `out_row` apart.
    Arrays are float32, or uint16 for bfloat16; `sizes` are compiled in.
    """
    height, steps, rows, pixels, vectors, group, input_row, input_pixel, out_row = (
        size.literal_value for size in sizes
    )
    is_bfloat16 = inputs.dtype == types.uint16
    word_size = 2 if is_bfloat16 else 1

    def generate(context, builder, signature, arguments):
        source, kernel, target = _pointers(context, builder, signature, arguments)
        sums = [cgutils.alloca_once(builder, VECTOR) for _ in range(rows * pixels * vectors)]
        for place in sums:
            builder.store(ZEROS, place)
        with _for_range(builder, height) as y, _for_range(builder, steps) as x:
            here = _advance(builder, source, (y, input_row), (x, group * word_size))
            column = _advance(builder, kernel, (y, steps * vectors * LANES * word_size))
            column = _advance(builder, column, (x, vectors * LANES * word_size))
            factors = [
                _load(builder, _advance(builder, column, (v, LANES * word_size)), WORDS)
                for v in range(vectors)
            ]
            for pixel in range(rows * pixels):
                r, p = divmod(pixel, pixels)
                corner = _advance(builder, here, (r, input_row), (p, input_pixel))
                words = _load(builder, corner, ir.IntType(32 * group))
                repeated = _broadcast(builder, words, group)
                for v, factor in enumerate(factors):
                    place = sums[pixel * vectors + v]
                    total = builder.load(place)
                    total = _add_product(builder, total, repeated, factor, is_bfloat16)
                    builder.store(total, place)
        for r in range(rows):
            row = [builder.load(sums[r * pixels * vectors + i]) for i in range(pixels * vectors)]
            for number, vector in enumerate(_sum_neighbours(builder, row, group)):
                _store(builder, vector, _advance(builder, target, (r, out_row), (number, LANES)))
        return context.get_dummy_value()

    arguments = (inputs, first_input, weights, first_weight, out, first_out, sizes)
    return types.void(*arguments), generate


@intrinsic(prefer_literal=True)
def accumulate_weight_gradients(
    typing_context, inputs, first_input, gradients, first_gradient,
    sums, first_sum, sizes
):  # fmt: skip
    """Add an image's part to a tile of the gradient of a convolution's weights.

    sums[n, v] += sum over y < `height` and x < `steps` of
        inputs[y * `input_row` + x * `input_step`, v] * gradients[y * `row` + x * `step` + n]

    for `vectors` vectors of inputs, and `channels` gradients, each repeated to fill a vector.
    Inputs and gradients are float32, or uint32 for pairs of bfloat16; `sizes` are compiled in.
    """
    height, steps, vectors, channels, lanes, input_row, input_step, row, step = (
        size.literal_value for size in sizes
    )
    is_bfloat16 = inputs.dtype == types.uint32
    vector_of_floats, vector_of_words = (
        ir.VectorType(kind, lanes) for kind in (ir.FloatType(), WORD)
    )

    def generate(context, builder, signature, arguments):
        source, factors, target = _pointers(context, builder, signature, arguments)
        places = [cgutils.alloca_once(builder, vector_of_floats) for _ in range(channels * vectors)]
        for number, place in enumerate(places):
            start = _load(builder, _advance(builder, target, (number, lanes)), vector_of_floats)
            builder.store(start, place)
        with _for_range(builder, height) as y, _for_range(builder, steps) as x:
            here = _advance(builder, source, (y, input_row), (x, input_step))
            loaded = [
                _load(builder, _advance(builder, here, (v, lanes)), vector_of_words)
                for v in range(vectors)
            ]
            pixel = _advance(builder, factors, (y, row), (x, step))
            for n in range(channels):
                word = _load(builder, _advance(builder, pixel, (n, 1)), WORD)
                repeated = _broadcast(builder, word, 1, lanes)
                for v, vector in enumerate(loaded):
                    place = places[n * vectors + v]
                    total = builder.load(place)
                    total = _add_product(builder, total, vector, repeated, is_bfloat16)
                    builder.store(total, place)
        for number, place in enumerate(places):
            _store(builder, builder.load(place), _advance(builder, target, (number, lanes)))
        return context.get_dummy_value()

    arguments = (inputs, first_input, gradients, first_gradient, sums, first_sum, sizes)
    return types.void(*arguments), generate


@intrinsic
def copy_block(typing_context, source, first_source, target, first_target):
    """Copy `BLOCK` neighbouring float32 numbers at once.

    A loop over so few, whose number is unknown when it is compiled, is not vectorised.
    """
    vector = ir.VectorType(ir.FloatType(), BLOCK)

    def generate(context, builder, signature, arguments):
        begin, end = _pointers(context, builder, signature, arguments, 2)
        _store(builder, _load(builder, begin, vector), end)
        return context.get_dummy_value()

    return types.void(source, first_source, target, first_target), generate


def _transform(builder, kind, numbers):
    """One direction of Winograd's algorithm: see `winograd.py`."""
    if kind == "gradients":
        s, t = numbers
        return [s, builder.fadd(s, t), builder.fsub(s, t), t]
    a, b, c, d = numbers
    if kind == "inputs":
        return [builder.fsub(a, c), builder.fadd(b, c), builder.fsub(c, b), builder.fsub(d, b)]
    return [
        builder.fadd(builder.fadd(a, b), c),
        builder.fadd(builder.fsub(b, c), d),
    ]


@intrinsic(prefer_literal=True)
def transform_tile(typing_context, source, first_source, target, first_target, kind, sizes):
    """Transform a tile in both directions, each channel for itself.

    Its pixels are `pixel` apart and its rows `row`, in the source and in the target. `kind`: "inputs"
    (4x4 pixels to 4x4 factors), "outputs" (4x4 products to 2x2 pixels), or "gradients" (of 2x2 outputs
    to those of 4x4 products). Arrays are float32; `kind` and `sizes` are compiled in.
    """
    source_row, source_pixel, target_row, target_pixel, channels = (
        size.literal_value for size in sizes
    )
    name = kind.literal_value
    side = 2 if name == "gradients" else 4
    lanes = LANES
    while channels % lanes:
        lanes //= 2
    vector = ir.VectorType(ir.FloatType(), lanes)

    def generate(context, builder, signature, arguments):
        begin, end = _pointers(context, builder, signature, arguments, 2)
        for channel in range(0, channels, lanes):
            columns = []
            for x in range(side):
                top = _advance(builder, begin, (x, source_pixel), (channel, 1))
                column = [
                    _load(builder, _advance(builder, top, (y, source_row)), vector)
                    for y in range(side)
                ]
                columns.append(_transform(builder, name, column))
            for y, row in enumerate(zip(*columns, strict=True)):
                left = _advance(builder, end, (y, target_row), (channel, 1))
                for x, value in enumerate(_transform(builder, name, row)):
                    _store(builder, value, _advance(builder, left, (x, target_pixel)))
        return context.get_dummy_value()

    arguments = (source, first_source, target, first_target, kind, sizes)
    return types.void(*arguments), generate
