"""The innermost loops of a convolution, written for the processor's vector registers.

Numba turns loops into vector instructions by itself, but it does not keep a block of sums in
registers, nor does it know the instruction that multiplies bfloat16. So the two loops in which a
convolution spends its time are spelled out here in LLVM's language. Both keep a tile of sums in
registers, and add to all of them, again and again, a product of two things: a vector of numbers
that lie side by side, and one number that is repeated to fill a vector.

The unit of a product is a *word* of 32 bits: one float32, or two bfloat16. Two words multiply to
the product of the floats, or to the sum of the two products (the dot product of pairs), in
float32. Processors with AVX512-BF16 have an instruction for the latter (which takes numbers
smaller than float32's normal ones for 0).

Where a row of a kernel does not fill its last words, weights of 0 do, which meet numbers that are
none of the row's: one that is infinite or not a number may reach an output that should not see it.
"""

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

_, _, FEATURES = cpu_target.target_context.codegen().magic_tuple()
"""What Numba compiles for, as LLVM names it: "+avx2,+fma,...,-avx512f"."""
HAS_BFLOAT16_PRODUCTS = "+avx512bf16" in FEATURES
LANES = 16 if "+avx512f" in FEATURES else 8 if "+avx2" in FEATURES else 4
"""How many 32-bit numbers a vector register holds."""
REGISTERS = 32 if LANES == 16 or platform.machine() in ("arm64", "aarch64") else 16
"""How many vector registers there are."""

WORD = ir.IntType(32)
INDEX = ir.IntType(64)
VECTOR = ir.VectorType(ir.FloatType(), LANES)
WORDS = ir.VectorType(WORD, LANES)
ZEROS = ir.Constant(VECTOR, [0.0] * LANES)


class BFloat16(ir.Type):  # type: ignore[misc]
    """LLVM's type for bfloat16, which llvmlite has no name for."""

    intrinsic_name = "bf16"

    def __str__(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BFloat16)

    def __hash__(self) -> int:
        return hash(BFloat16)


def add_product(builder: ir.IRBuilder, sums: Any, left: Any, right: Any, is_bfloat16: bool) -> Any:
    """sums + left * right, lane by lane; left and right are vectors of words."""
    if not is_bfloat16:
        return multiply_and_add(builder, left, right, sums)
    if HAS_BFLOAT16_PRODUCTS and LANES == 16:
        pairs = ir.VectorType(BFloat16(), 2 * LANES)
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
        sums = multiply_and_add(builder, half(left), half(right), sums)
    return sums


def multiply_and_add(builder: ir.IRBuilder, left: Any, right: Any, sums: Any) -> Any:
    """sums + left * right in float32: one instruction with one rounding, where there is one."""
    left, right = builder.bitcast(left, VECTOR), builder.bitcast(right, VECTOR)
    products = builder.fmul(left, right, flags=["contract"])
    return builder.fadd(products, sums, flags=["contract"])


def pointer_to(context: Any, builder: ir.IRBuilder, array_type: Any, array: Any, index: Any) -> Any:
    """Where an element of an array lies, counted from its first; the array is in one piece."""
    start = context.make_array(array_type)(context, builder, array).data
    return builder.gep(start, [index])


def moved(builder: ir.IRBuilder, pointer: Any, *steps: tuple[Any, int]) -> Any:
    """A pointer moved on by a number of steps, each of a number of elements."""
    for count, size in steps:
        index = ir.Constant(INDEX, count) if isinstance(count, int) else count
        pointer = builder.gep(pointer, [builder.mul(index, ir.Constant(INDEX, size))])
    return pointer


@contextmanager
def loop(builder: ir.IRBuilder, count: int) -> Iterator[Any]:
    """What is generated within the block is repeated; gives the number of the repetition."""
    with cgutils.for_range(builder, ir.Constant(INDEX, count)) as repetition:
        yield repetition.index


def load(builder: ir.IRBuilder, pointer: Any, kind: ir.Type) -> Any:
    """What lies at a pointer, read as this type; it need not be aligned."""
    value = builder.load(builder.bitcast(pointer, kind.as_pointer()))
    value.align = 2
    return value


def store(builder: ir.IRBuilder, value: Any, pointer: Any) -> None:
    """Write a vector of floats; the pointer need not be aligned to it."""
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer())).align = 4


def repeat(builder: ir.IRBuilder, value: Any, num_words: int) -> Any:
    """A vector that is filled with the same group of words."""
    lanes = LANES // num_words
    kind = ir.VectorType(value.type, lanes)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(WORD, 0))
    same = ir.Constant(ir.VectorType(WORD, lanes), [0] * lanes)
    filled = builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), same)
    return builder.bitcast(filled, WORDS)


def sum_neighbours(builder: ir.IRBuilder, vectors: Sequence[Any], group_size: int) -> list[Any]:
    """Add up each group of neighbouring lanes; the sums lie side by side, in fewer vectors.

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
def add_up_outputs(
    typing_context: Any,
    inputs: Any,
    first_input: Any,
    weights: Any,
    first_weight: Any,
    out: Any,
    first_out: Any,
    sizes: Any,
) -> tuple[Any, Callable[..., Any]]:
    """A tile of a convolution's outputs: `rows` x `pixels` of them, `vectors` x LANES numbers each.

    out[r, p, v] = sum over y < `height` and x < `steps` of
        inputs[(r + y) * `input_row` + p * `input_pixel` + x] * weights[y, x, v],

    where an input is a group of `group` words, repeated to fill a vector. If there is more than
    one word in a group, the channels are few: neighbouring lanes belong to the same channel, each
    to another word of the group, and are added up at the end. Rows of `out` are `out_row` apart.
    Arrays are float32, or uint16 for bfloat16; `sizes` are fixed at compilation.
    """
    height, steps, rows, pixels, vectors, group, input_row, input_pixel, out_row = (
        size.literal_value for size in sizes
    )
    is_bfloat16 = inputs.dtype == types.uint16
    in_word = 2 if is_bfloat16 else 1  # elements of the arrays

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        source, kernel, target = (
            pointer_to(context, builder, signature.args[i], arguments[i], arguments[i + 1])
            for i in (0, 2, 4)
        )
        sums = [cgutils.alloca_once(builder, VECTOR) for _ in range(rows * pixels * vectors)]
        for place in sums:
            builder.store(ZEROS, place)
        with loop(builder, height) as y, loop(builder, steps) as x:
            here = moved(builder, source, (y, input_row), (x, group * in_word))
            column = moved(builder, kernel, (y, steps * vectors * LANES * in_word))
            column = moved(builder, column, (x, vectors * LANES * in_word))
            factors = [
                load(builder, moved(builder, column, (v, LANES * in_word)), WORDS)
                for v in range(vectors)
            ]
            for pixel in range(rows * pixels):
                r, p = divmod(pixel, pixels)
                corner = moved(builder, here, (r, input_row), (p, input_pixel))
                words = load(builder, corner, ir.IntType(32 * group))
                repeated = repeat(builder, words, group)
                for v, factor in enumerate(factors):
                    place = sums[pixel * vectors + v]
                    total = add_product(builder, builder.load(place), repeated, factor, is_bfloat16)
                    builder.store(total, place)
        for r in range(rows):
            row = [builder.load(sums[r * pixels * vectors + i]) for i in range(pixels * vectors)]
            for number, vector in enumerate(sum_neighbours(builder, row, group)):
                store(builder, vector, moved(builder, target, (r, out_row), (number, LANES)))
        return context.get_dummy_value()

    arguments = (inputs, first_input, weights, first_weight, out, first_out, sizes)
    return types.void(*arguments), generate


@intrinsic(prefer_literal=True)
def add_up_gradients(
    typing_context: Any,
    inputs: Any,
    first_input: Any,
    gradients: Any,
    first_gradient: Any,
    sums: Any,
    first_sum: Any,
    sizes: Any,
) -> tuple[Any, Callable[..., Any]]:
    """Add an image's part to a tile of the gradient of a convolution's weights.

    sums[n, v] += sum over y < `height` and x < `steps` of
        inputs[y * `input_row` + x * `input_step`, v] * gradients[y * `row` + x * `step` + n]

    for `vectors` vectors of inputs, and `channels` gradients, each repeated to fill a vector.
    Inputs and gradients are float32, or uint32 for pairs of bfloat16.
    """
    height, steps, vectors, channels, input_row, input_step, row, step = (
        size.literal_value for size in sizes
    )
    is_bfloat16 = inputs.dtype == types.uint32

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        source, factors, target = (
            pointer_to(context, builder, signature.args[i], arguments[i], arguments[i + 1])
            for i in (0, 2, 4)
        )
        places = [cgutils.alloca_once(builder, VECTOR) for _ in range(channels * vectors)]
        for number, place in enumerate(places):
            builder.store(load(builder, moved(builder, target, (number, LANES)), VECTOR), place)
        with loop(builder, height) as y, loop(builder, steps) as x:
            here = moved(builder, source, (y, input_row), (x, input_step))
            loaded = [
                load(builder, moved(builder, here, (v, LANES)), WORDS) for v in range(vectors)
            ]
            pixel = moved(builder, factors, (y, row), (x, step))
            for n in range(channels):
                repeated = repeat(builder, load(builder, moved(builder, pixel, (n, 1)), WORD), 1)
                for v, vector in enumerate(loaded):
                    place = places[n * vectors + v]
                    total = add_product(builder, builder.load(place), vector, repeated, is_bfloat16)
                    builder.store(total, place)
        for number, place in enumerate(places):
            store(builder, builder.load(place), moved(builder, target, (number, LANES)))
        return context.get_dummy_value()

    arguments = (inputs, first_input, gradients, first_gradient, sums, first_sum, sizes)
    return types.void(*arguments), generate
