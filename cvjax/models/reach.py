"""Which pixels of the image a traced program's results depend on, as intervals of rows and columns.

Every value that depends on the image carries, for each element, the first and the last row (and
column) that it sees. Data movement moves these, sums and windows join them. An axis along which
they do not vary has length 1 here, which keeps them small: a map is a few hundred numbers.

Nothing is clipped at the border: a window that hangs over it sees rows before the first, as if the
image went on, so that the middle of a map sees what it would see in an image large enough.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.extend import core

from cvjax.models.cost import inner_jaxprs

# First and last row of an element that depends on no pixel; any union with it is the other.
_NONE = (2**40, -(2**40))


class Span:
    """First and last row (or column) that each element sees."""

    def __init__(self, low: np.ndarray, high: np.ndarray) -> None:
        self.low, self.high = low, high

    def map(self, move: Callable[[np.ndarray], np.ndarray]) -> "Span":
        """Elements moved about, none joined."""
        return Span(_compact(move(self.low)), _compact(move(self.high)))

    def join(self, axes: Sequence[int]) -> "Span":
        """The union over `axes`, which stay with length 1."""
        axes = tuple(axes)
        return Span(self.low.min(axes, keepdims=True), self.high.max(axes, keepdims=True))

    def __or__(self, other: "Span") -> "Span":
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        return Span(_compact(low), _compact(high))


Seen = tuple[Span, Span]  # by rows, by columns


def image_spans(shape: Sequence[int]) -> Seen:
    """Every pixel of an image [B, H, W, C] sees itself."""
    _, height, width, _ = shape
    rows = np.arange(height).reshape(1, -1, 1, 1)
    columns = np.arange(width).reshape(1, 1, -1, 1)
    return Span(rows, rows), Span(columns, columns)


def reach(jaxpr: core.Jaxpr, inputs: Sequence[Seen | None]) -> list[Seen | None]:
    """What each result of `jaxpr` sees, given what its arguments see; None sees nothing.

    Exact for convolutions, pooling, slices, reshapes and the like; a primitive that is not known
    here counts as if each of its results saw all that its arguments see.
    """
    known: dict[Any, Seen | None] = dict(zip(jaxpr.invars, inputs))
    for eqn in jaxpr.eqns:
        arguments = [None if isinstance(v, core.Literal) else known.get(v) for v in eqn.invars]
        if all(a is None for a in arguments):
            continue
        for var, seen in zip(eqn.outvars, _apply(eqn, arguments)):
            known[var] = seen
    return [None if isinstance(v, core.Literal) else known.get(v) for v in jaxpr.outvars]


def _apply(eqn: Any, arguments: list[Seen | None]) -> Sequence[Seen | None]:
    kind = eqn.primitive.name
    if kind == "cond":
        branches = [reach(b.jaxpr, arguments[1:]) for b in eqn.params["branches"]]
        return [_union(results) for results in zip(*branches)]
    if kind not in ("scan", "while"):
        for inner in inner_jaxprs(eqn):
            if len(inner.invars) == len(arguments):
                return reach(inner, arguments)
    if kind == "optimization_barrier":
        return arguments
    if kind == "split":
        return _split(eqn, arguments[0])
    rule = _RULES.get(kind)
    shape = eqn.outvars[0].aval.shape
    if rule is not None and len(eqn.outvars) == 1:
        return [tuple(rule(eqn, [a and a[axis] for a in arguments]) for axis in (0, 1))]
    if len(eqn.outvars) == 1 and kind not in _MIXING and _broadcasts(eqn.invars, shape):
        return [_union(_of_rank(a, len(shape)) for a in arguments)]  # element by element
    whole = _union(_of_rank(_all(a), 0) for a in arguments if a is not None)
    return [_of_rank(whole, len(v.aval.shape)) for v in eqn.outvars]


def _broadcasts(arguments: Sequence[Any], shape: Sequence[int]) -> bool:
    """Whether all have that shape, or are scalars, or have a 1 where it has more."""
    shapes = [v.aval.shape for v in arguments]
    return all(
        given == () or (len(given) == len(shape) and all(a in (1, b) for a, b in zip(given, shape)))
        for given in shapes
    )


def _union(seen: Any) -> Seen | None:
    found = [s for s in seen if s is not None]
    if not found:
        return None
    rows, columns = found[0]
    for more_rows, more_columns in found[1:]:
        rows, columns = rows | more_rows, columns | more_columns
    return rows, columns


def _all(seen: Seen) -> Seen:
    return tuple(Span(s.low.min(), s.high.max()) for s in seen)


def _of_rank(seen: Seen | None, rank: int) -> Seen | None:
    """A scalar's, broadcast to `rank` axes; others as they are."""
    if seen is None or seen[0].low.ndim == rank:
        return seen
    ones = (1,) * rank
    return tuple(Span(np.reshape(s.low, ones), np.reshape(s.high, ones)) for s in seen)


def _compact(x: np.ndarray) -> np.ndarray:
    for axis in range(x.ndim):
        first = x[(slice(None),) * axis + (slice(0, 1),)]
        if x.shape[axis] > 1 and (x == first).all():
            x = first
    return x


def _along(axis: int, index: Any) -> tuple[Any, ...]:
    return (slice(None),) * axis + (index,)


def _pad(x: np.ndarray, axis: int, low: int, high: int, inner: int = 0) -> np.ndarray:
    """Padded along `axis` by going on in the same steps; negative amounts crop."""
    n = x.shape[axis]
    if n == 1:
        return x
    if inner:
        x = np.repeat(x, inner + 1, axis)[_along(axis, slice(0, (n - 1) * (inner + 1) + 1))]
        n = x.shape[axis]
    column = tuple(-1 if i == axis else 1 for i in range(x.ndim))
    parts = [x[_along(axis, slice(max(-low, 0), n - max(-high, 0)))]]
    if low > 0:
        first, second = (x[_along(axis, slice(i, i + 1))] for i in (0, 1))
        parts.insert(0, first - (second - first) * np.arange(low, 0, -1).reshape(column))
    if high > 0:
        last, before = (x[_along(axis, slice(n - i, n - i + 1))] for i in (1, 2))
        parts.append(last + (last - before) * np.arange(1, high + 1).reshape(column))
    return np.concatenate(parts, axis)


def _slide(x: np.ndarray, axis: int, window: int, stride: int, dilation: int, join: Any) -> Any:
    if x.shape[axis] == 1:
        return x
    count = (x.shape[axis] - dilation * (window - 1) - 1) // stride + 1
    taps = [
        x[_along(axis, slice(t * dilation, t * dilation + (count - 1) * stride + 1, stride))]
        for t in range(window)
    ]
    return join(taps, axis=0)


def _windows(span: Span, axes: Sequence[tuple[int, ...]]) -> Span:
    """Slid over by windows: (axis, window, stride, dilation, low, high, input dilation)."""
    low, high = span.low, span.high
    for axis, window, stride, dilation, before, after, base in axes:
        low = _slide(_pad(low, axis, before, after, base - 1), axis, window, stride, dilation, _MIN)
        high = _slide(
            _pad(high, axis, before, after, base - 1), axis, window, stride, dilation, _MAX
        )
    return Span(_compact(low), _compact(high))


_MIN, _MAX = np.min, np.max


def _conv(eqn: Any, arguments: list[Span | None]) -> Span:
    image, kernel = arguments[:2]
    params, numbers = eqn.params, eqn.params["dimension_numbers"]
    rank = len(numbers.lhs_spec)
    if image is None or kernel is not None:
        return _everything(arguments, rank)
    # Of grouped convolutions' channels, each counts as if it saw all.
    image = image.join([numbers.lhs_spec[1]])
    window = [eqn.invars[1].aval.shape[i] for i in numbers.rhs_spec[2:]]
    axes = zip(
        range(2, rank), window, params["window_strides"], params["rhs_dilation"],
        *zip(*params["padding"]), params["lhs_dilation"],
    )  # fmt: skip
    image = image.map(lambda x: x.transpose(numbers.lhs_spec))
    image = _windows(image, list(axes))
    back = np.argsort(numbers.out_spec)
    return image.map(lambda x: x.transpose(back))


def _reduce_window(eqn: Any, arguments: list[Span | None]) -> Span:
    params = eqn.params
    axes = zip(
        range(len(params["window_dimensions"])), params["window_dimensions"],
        params["window_strides"], params["window_dilation"], *zip(*params["padding"]),
        params["base_dilation"],
    )  # fmt: skip
    return _windows(arguments[0], [a for a in axes if a[1:] != (1, 1, 1, 0, 0, 1)])


def _reduce(eqn: Any, arguments: list[Span | None]) -> Span:
    axes = tuple(eqn.params["axes"])
    return arguments[0].join(axes).map(lambda x: x.squeeze(axes))


def _dot(eqn: Any, arguments: list[Span | None]) -> Span:
    contracted, batch = eqn.params["dimension_numbers"]
    free = [
        [i for i in range(v.aval.ndim) if i not in (*c, *b)]
        for v, c, b in zip(eqn.invars, contracted, batch)
    ]
    found = []
    for side, span in enumerate(arguments):
        if span is None:
            continue
        order = (*batch[side], *free[side], *contracted[side])
        span = span.join(contracted[side])

        def lay(x: np.ndarray, side: int = side, order: tuple = order) -> np.ndarray:
            x = x.transpose(order)
            shape = list(x.shape[: len(order) - len(contracted[side])])
            ones = [1] * len(free[1 - side])
            where = len(batch[side]) if side == 1 else len(shape)
            return x.reshape(shape[:where] + ones + shape[where:])

        found.append(span.map(lay))
    return found[0] if len(found) == 1 else found[0] | found[1]


def _broadcast(eqn: Any, arguments: list[Span | None]) -> Span:
    shape, places = eqn.params["shape"], eqn.params["broadcast_dimensions"]

    def spread(x: np.ndarray) -> np.ndarray:
        laid = [1] * len(shape)
        for axis, place in enumerate(places):
            laid[place] = x.shape[axis]
        return x.reshape(laid)

    return arguments[0].map(spread)


def _reshape(eqn: Any, arguments: list[Span | None]) -> Span:
    before, after = eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape

    def lay(x: np.ndarray) -> np.ndarray:
        full, laid = [], []
        for ours, theirs in _groups(before, after):
            constant = all(x.shape[i] == 1 for i in ours)
            full += [1 if constant else before[i] for i in ours]
            laid += [1 if constant else after[i] for i in theirs]
        return np.broadcast_to(x, full).reshape(laid)

    return arguments[0].map(lay)


def _groups(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """The shortest runs of axes that a reshape turns into each other."""
    groups, i, j = [], 0, 0
    while i < len(before) or j < len(after):
        ours, theirs = [], []
        sizes = [1, 1]
        while not (ours or theirs) or sizes[0] != sizes[1]:
            if (sizes[0] <= sizes[1] and i < len(before)) or j >= len(after):
                sizes[0] *= before[i]
                ours.append(i)
                i += 1
            else:
                sizes[1] *= after[j]
                theirs.append(j)
                j += 1
        groups.append((ours, theirs))
    return groups


def _slice(eqn: Any, arguments: list[Span | None]) -> Span:
    params = eqn.params
    strides = params["strides"] or (1,) * len(params["start_indices"])
    cuts = [slice(*cut) for cut in zip(params["start_indices"], params["limit_indices"], strides)]
    return arguments[0].map(
        lambda x: x[tuple(slice(None) if n == 1 else cut for n, cut in zip(x.shape, cuts))]
    )


def _split(eqn: Any, seen: Seen) -> list[Seen]:
    axis, parts, start = eqn.params["axis"], [], 0
    for size in eqn.params["sizes"]:
        cut = _along(axis, slice(start, start + size))
        parts.append(
            tuple(s.map(lambda x, cut=cut: x if x.shape[axis] == 1 else x[cut]) for s in seen)
        )
        start += size
    return parts


def _concatenate(eqn: Any, arguments: list[Span | None]) -> Span:
    axis, rank = eqn.params["dimension"], len(eqn.outvars[0].aval.shape)
    sizes = [v.aval.shape[axis] for v in eqn.invars]
    nothing = Span(*(np.full((1,) * rank, x) for x in _NONE))
    spans = [nothing if a is None else a for a in arguments]

    def put(arrays: list[np.ndarray]) -> np.ndarray:
        shape = list(np.broadcast_shapes(*(a[_along(axis, slice(0, 1))].shape for a in arrays)))
        parts = [
            np.broadcast_to(a, [*shape[:axis], size, *shape[axis + 1 :]])
            for a, size in zip(arrays, sizes)
        ]
        return _compact(np.concatenate(parts, axis))

    return Span(put([s.low for s in spans]), put([s.high for s in spans]))


def _pad_rule(eqn: Any, arguments: list[Span | None]) -> Span:
    if arguments[0] is None:
        return _everything(arguments, len(eqn.outvars[0].aval.shape))

    def lay(x: np.ndarray) -> np.ndarray:
        for axis, (low, high, inner) in enumerate(eqn.params["padding_config"]):
            x = _pad(x, axis, low, high, inner)
        return x

    return arguments[0].map(lay)


def _everything(arguments: list[Span | None], rank: int) -> Span:
    found = [a for a in arguments if a is not None]
    low, high = min(a.low.min() for a in found), max(a.high.max() for a in found)
    return Span(np.full((1,) * rank, low), np.full((1,) * rank, high))


# Their results have the shape of their arguments, but are not made element by element.
_MIXING = {"cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp", "sort", "fft", "gather",
           "dynamic_slice", "dynamic_update_slice", "scan", "while", "cholesky"}  # fmt: skip

_RULES: dict[str, Callable[[Any, list[Span | None]], Span]] = {
    "conv_general_dilated": _conv,
    "dot_general": _dot,
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "slice": _slice,
    "concatenate": _concatenate,
    "pad": _pad_rule,
    "transpose": lambda eqn, a: a[0].map(lambda x: x.transpose(eqn.params["permutation"])),
    "squeeze": lambda eqn, a: a[0].map(lambda x: x.squeeze(tuple(eqn.params["dimensions"]))),
    "rev": lambda eqn, a: a[0].map(lambda x: np.flip(x, eqn.params["dimensions"])),
    **dict.fromkeys(
        ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or"),
        _reduce,
    ),
    **dict.fromkeys(
        ("reduce_window", "reduce_window_sum", "reduce_window_max", "reduce_window_min"),
        _reduce_window,
    ),
}


def middle(span: Span, axis: int) -> tuple[int, int] | None:
    """First and last row that the middle unit of a map sees along `axis`, any channel.

    None if every unit sees the same rows: something before it was global.
    """
    others = tuple(i for i in range(span.low.ndim) if i != axis)
    low, high = np.broadcast_arrays(span.low.min(others), span.high.max(others))
    if len(low) == 1:
        return None
    index = len(low) // 2
    return int(low[index]), int(high[index])
