"""Greedy non-maximum suppression with a fixed number of outputs.

Greedy order is kept exactly, without a step per box: boxes are visited by descending score in
tiles. A tile is compared with the boxes kept so far, piece by piece, then with itself, where greedy
selection is the only fixed point of "kept = alive and not overlapped by an earlier kept one" and is
reached in as many rounds as the longest chain of suppressions. The loop ends once the outputs are
full.

Where labels keep boxes apart and there is room for many outputs, boxes are visited label by label,
so that a tile meets the kept boxes of its own labels alone; the best of all labels are chosen at
the end. The result is the same.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from cvjax.ops.boxes import pairwise_iou

# Boxes of a tile, and kept boxes that it meets at a time. Measured on a CPU, where small tiles
# waste little on pairs of different labels; an accelerator wants few large steps.
_CPU_SIZES = (256, 512)
_CPU_SIZES_BY_LABEL = (32, 128)
_ACCELERATOR_SIZES = (1024, 4096)


def nms(
    boxes: Float[Array, "n 4"],
    scores: Float[Array, " n"],
    labels: Int[Array, " n"] | None = None,
    *,
    iou_threshold: float | Float[Array, ""],
    max_outputs: int,
    tile: int | None = None,
    chunk: int | None = None,
) -> tuple[Int[Array, " m"], Bool[Array, " m"]]:
    """Indices of the kept boxes by descending score, and which of the `max_outputs` are filled.

    A box goes if its IoU with a kept box of a higher score is above (not at) `iou_threshold`; of
    equal scores the first box of the input counts as the higher. With `labels`, only boxes of the
    same label suppress each other. A score of -inf or NaN marks padding, which is never kept and
    suppresses nothing. Unfilled outputs hold index 0. One image: vmap over a batch. `tile` boxes at
    a time meet `chunk` kept ones, which changes the speed, not the result; None is what suits the
    backend. Work is at most O(n (tile + k)), k the boxes kept, of one label where labels are
    visited one by one; memory O(n + tile (tile + chunk)).

    Raises:
        ValueError: if max_outputs, tile or chunk is not positive.
    """
    on_cpu = jax.default_backend() == "cpu"
    sizes = _CPU_SIZES if on_cpu else _ACCELERATOR_SIZES
    n = boxes.shape[0]
    # By score, max_outputs boxes or more meet half as many kept ones before the outputs are full;
    # by label all boxes meet a chunk, and are sorted once more. On a CPU the two took as long where
    # a quarter of 1k to 20k boxes was asked for.
    many = 4 * max_outputs > n if on_cpu else max_outputs**2 > 2 * n * (chunk or sizes[1])
    by_label = labels is not None and many
    if by_label and on_cpu:
        sizes = _CPU_SIZES_BY_LABEL
    tile, chunk = sizes[0] if tile is None else tile, sizes[1] if chunk is None else chunk
    if min(max_outputs, tile, chunk) < 1:
        raise ValueError(
            f"nms: got max_outputs={max_outputs}, tile={tile}, chunk={chunk}. "
            "All must be at least 1."
        )
    if n == 0:
        return jnp.zeros(max_outputs, jnp.int32), jnp.zeros(max_outputs, bool)
    scores = jnp.where(jnp.isnan(scores), -jnp.inf, scores)
    num_valid = jnp.sum(scores > -jnp.inf)
    tile = min(tile, n)
    order = jnp.argsort(scores, descending=True, stable=True).astype(jnp.int32)
    labels = None if labels is None else labels[order]
    if by_label:
        places = _label_by_label(labels, num_valid)
        labels = labels[places]

    kept, count = _kept_positions(
        boxes[order[places] if by_label else order].T,
        labels,
        num_valid,
        iou_threshold,
        room=n if by_label else max_outputs,
        by_label=by_label,
        tile=tile,
        chunk=chunk,
    )
    valid = jnp.arange(max_outputs) < count
    if by_label:
        # By score again. The places of what was not kept are out of bounds.
        found = jnp.where(jnp.arange(n) < count, places[kept], n)
        chosen = jnp.zeros(n, bool).at[found].set(True, mode="drop")
        kept = jnp.nonzero(chosen, size=max_outputs, fill_value=0)[0]
    return jnp.where(valid, order[kept], 0), valid


def _label_by_label(labels: Int[Array, " n"], num_valid: Int[Array, ""]) -> Int[Array, " n"]:
    """Places of sorted boxes such that those of a label stand together, padding last.

    One integer of label and place is sorted in a third of the time of two arrays, where both fit.
    """
    n = len(labels)
    bits = (n - 1).bit_length()
    last = 2 ** (32 - bits) - 1
    places = jnp.arange(n, dtype=jnp.uint32)
    padding = places >= num_valid
    fit = labels >= 0
    if last <= jnp.iinfo(labels.dtype).max:
        fit &= labels < last
    fit = jnp.all(padding | fit)
    packed = (jnp.where(padding, jnp.uint32(last), labels.astype(jnp.uint32)) << bits) | places
    found = (jax.lax.sort(packed, is_stable=False) & (2**bits - 1)).astype(jnp.int32)

    def with_large_labels(state):
        keys = (padding, labels, jnp.arange(n, dtype=jnp.int32))
        return jnp.array(True), jax.lax.sort(keys, num_keys=2, is_stable=True)[-1]

    # A loop of one step or none: vmap turns a condition into both branches.
    return jax.lax.while_loop(lambda state: ~state[0], with_large_labels, (fit, found))[1]


def _kept_positions(
    boxes: Float[Array, "4 n"],
    labels: Int[Array, " n"] | None,
    num_valid: Array,
    iou_threshold: float | Array,
    *,
    room: int,
    by_label: bool,
    tile: int,
    chunk: int,
) -> tuple[Int[Array, " r"], Int[Array, ""]]:
    """Places of the first `room` kept boxes among the sorted `boxes`, and how many they are."""
    rest = tile if by_label else -boxes.shape[1] % tile  # by label a tile may start anywhere
    boxes = jnp.pad(boxes, ((0, 0), (0, rest)))
    labels = None if labels is None else jnp.pad(labels, (0, rest))
    earlier = jnp.triu(jnp.ones((tile, tile), bool), k=1)  # [i, j]: i comes before j
    chunk = min(chunk, room)
    length = room if chunk == room else room + chunk  # a chunk may start anywhere

    def step(state):
        # `first`: where the kept boxes of the label of the box before `start` begin.
        start, count, first, kept = state
        here = jax.lax.dynamic_slice_in_dim(boxes, start, tile, axis=1)
        label = None if labels is None else jax.lax.dynamic_slice_in_dim(labels, start, tile)
        alive = start + jnp.arange(tile) < num_valid
        taken = tile
        if by_label:
            first = jnp.where(labels[jnp.maximum(start - 1, 0)] == label[0], first, count)
            # A label that goes on behind the tile waits for the next one, if others come before
            # it: a label that lies in one tile need not meet kept boxes.
            goes_on = (start + tile < num_valid) & (label[0] != label[-1])
            waits = goes_on & (label == labels[start + tile])
            alive &= ~waits
            taken -= waits.sum(dtype=jnp.int32)

        def survivors(low, alive):
            before = jax.lax.dynamic_slice_in_dim(kept, low, chunk)
            known = low + jnp.arange(chunk) < count
            before_label = None if labels is None else labels[before]
            hit = _suppresses(boxes[:, before], before_label, here, label, iou_threshold)
            return alive & ~jnp.any(hit & known[:, None], axis=0)

        if chunk == room and not by_label:
            alive = survivors(0, alive)
        else:
            _, alive = jax.lax.while_loop(
                lambda state: (state[0] < count) & jnp.any(state[1]),
                lambda state: (state[0] + chunk, survivors(*state)),
                (first, alive),
            )
        within = _suppresses(here, label, here, label, iou_threshold) & earlier
        chosen = _greedy(alive, within)
        # Past the last output the place is out of bounds, and the write is dropped.
        place = jnp.where(chosen, count + jnp.cumsum(chosen) - 1, length)
        kept = kept.at[place].set(start + jnp.arange(tile, dtype=jnp.int32), mode="drop")
        if by_label:
            others = jnp.sum(chosen & (label != label[-1])).astype(jnp.int32)
            first = jnp.where(label[-1] == label[0], first, count + others)
        return start + taken, jnp.minimum(count + chosen.sum(), room), first, kept

    def unfinished(state):
        start, count, *_ = state
        return (start < num_valid) & (count < room)

    zero = jnp.zeros((), jnp.int32)
    state = (zero, zero, zero, jnp.zeros(length, jnp.int32))
    _, count, _, kept = jax.lax.while_loop(unfinished, step, state)
    return kept[:room], count


def _suppresses(
    boxes: Float[Array, "4 n"],
    labels: Int[Array, " n"] | None,
    others: Float[Array, "4 m"],
    other_labels: Int[Array, " m"] | None,
    iou_threshold: float | Array,
) -> Bool[Array, "n m"]:
    """[i, j]: whether box i, if kept, removes the other box j."""
    hit = pairwise_iou(boxes.T, others.T) > iou_threshold
    return hit if labels is None else hit & (labels[:, None] == other_labels[None])


def _greedy(alive: Array, hit: Array) -> Array:
    """The greedy choice among `alive`, where hit[i, j] holds only for i before j."""

    def refine(state):
        chosen, _ = state
        new = alive & ~jnp.any(hit & chosen[:, None], axis=0)
        return new, jnp.any(new != chosen)

    # A box's state is final one round after those of all boxes that reach it.
    chosen, _ = jax.lax.while_loop(lambda state: state[1], refine, (alive, jnp.any(alive)))
    return chosen
