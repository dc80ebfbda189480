"""Greedy non-maximum suppression with a fixed number of outputs.

Greedy order is kept exactly, without a step per box: boxes are visited by descending score in
tiles. A tile is compared with the boxes kept so far, then with itself, where greedy selection is
the only fixed point of "kept = alive and not overlapped by an earlier kept one" and is reached in
as many rounds as the longest chain of suppressions. The loop ends once the outputs are full.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from cvjax.ops.boxes import pairwise_iou


def nms(
    boxes: Float[Array, "n 4"],
    scores: Float[Array, " n"],
    labels: Int[Array, " n"] | None = None,
    *,
    iou_threshold: float | Float[Array, ""],
    max_outputs: int,
    tile: int = 256,
) -> tuple[Int[Array, " m"], Bool[Array, " m"]]:
    """Indices of the kept boxes by descending score, and which of the `max_outputs` are filled.

    A box goes if its IoU with a kept box of a higher score is above (not at) `iou_threshold`; of
    equal scores the first box of the input counts as the higher. With `labels`, only boxes of the
    same label suppress each other. A score of -inf or NaN marks padding, which is never kept and
    suppresses nothing. Unfilled outputs hold index 0. One image: vmap over a batch. `tile` changes
    the speed, not the result. Work is O(n (max_outputs + tile)), memory O(tile max_outputs).

    Raises:
        ValueError: if max_outputs or tile is not positive.
    """
    if max_outputs < 1 or tile < 1:
        raise ValueError(
            f"nms: got max_outputs={max_outputs}, tile={tile}. Both must be at least 1."
        )
    n = boxes.shape[0]
    if n == 0:
        return jnp.zeros(max_outputs, jnp.int32), jnp.zeros(max_outputs, bool)
    tile = min(tile, n)
    if labels is None:
        labels = jnp.zeros(n, jnp.int32)

    scores = jnp.where(jnp.isnan(scores), -jnp.inf, scores)
    order = jnp.argsort(scores, descending=True, stable=True).astype(jnp.int32)
    num_valid = jnp.sum(scores > -jnp.inf)
    order = jnp.pad(order, (0, -n % tile))
    sorted_boxes, sorted_labels = boxes[order], labels[order]
    earlier = jnp.triu(jnp.ones((tile, tile), bool), k=1)  # [i, j]: i comes before j

    def step(state):
        start, count, kept = state
        here = jax.lax.dynamic_slice_in_dim(sorted_boxes, start, tile)
        here_labels = jax.lax.dynamic_slice_in_dim(sorted_labels, start, tile)
        before = jnp.arange(max_outputs) < count  # [M]
        hit = _suppresses(
            sorted_boxes[kept], sorted_labels[kept], here, here_labels, iou_threshold
        )  # [M, T]
        alive = ~jnp.any(hit & before[:, None], axis=0)
        alive &= start + jnp.arange(tile) < num_valid
        within = _suppresses(here, here_labels, here, here_labels, iou_threshold) & earlier
        chosen = _greedy(alive, within)
        # Past the last output the place is out of bounds, and the write is dropped.
        place = jnp.where(chosen, count + jnp.cumsum(chosen) - 1, max_outputs)
        kept = kept.at[place].set(start + jnp.arange(tile, dtype=jnp.int32), mode="drop")
        return start + tile, jnp.minimum(count + chosen.sum(), max_outputs), kept

    def unfinished(state):
        start, count, _ = state
        return (start < num_valid) & (count < max_outputs)

    zero = jnp.zeros((), jnp.int32)
    state = (zero, zero, jnp.zeros(max_outputs, jnp.int32))
    _, count, kept = jax.lax.while_loop(unfinished, step, state)
    valid = jnp.arange(max_outputs) < count
    return jnp.where(valid, order[kept], 0), valid


def _suppresses(
    boxes: Array, labels: Array, others: Array, other_labels: Array, iou_threshold: float | Array
) -> Array:
    """[i, j]: whether box i, if kept, removes the other box j."""
    same = labels[:, None] == other_labels[None]
    return same & (pairwise_iou(boxes, others) > iou_threshold)


def _greedy(alive: Array, hit: Array) -> Array:
    """The greedy choice among `alive`, where hit[i, j] holds only for i before j."""

    def refine(state):
        chosen, _ = state
        new = alive & ~jnp.any(hit & chosen[:, None], axis=0)
        return new, jnp.any(new != chosen)

    # A box's state is final one round after those of all boxes that reach it.
    chosen, _ = jax.lax.while_loop(lambda state: state[1], refine, (alive, jnp.any(alive)))
    return chosen
