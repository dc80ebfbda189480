"""Which object each anchor answers for."""

from collections.abc import Sequence
from itertools import accumulate, pairwise

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from cvjax.ops.boxes import pairwise_iou

BACKGROUND = -1
IGNORED = -2


def match_anchors(
    overlap: Float[Array, "n a"],
    valid: Bool[Array, " n"],
    *,
    high: float,
    low: float,
    low_quality: bool,
) -> Int[Array, " a"]:
    """The index of each anchor's object, BACKGROUND (-1) or IGNORED (-2).

    An anchor takes the object it overlaps most (the first of equals) if `overlap`, the IoU of
    objects and anchors, is at least `high`; it is background below `low` and ignored in between.
    With `low_quality`, the anchors that overlap an object most (all of equals) keep their own best
    object whatever the overlap, provided it is above 0. Objects that are not `valid` are padding
    and match nothing. Ren et al. 2015, https://arxiv.org/abs/1506.01497, section 3.1.2.

    Raises:
        ValueError: if low is above high.
    """
    if low > high:
        raise ValueError(f"match_anchors: low={low} is above high={high}. Swap them.")
    n, anchors = overlap.shape
    if n == 0:
        return jnp.full(anchors, BACKGROUND, jnp.int32)
    overlap = jnp.where(valid[:, None], overlap, -1.0)
    best = jnp.argmax(overlap, axis=0).astype(jnp.int32)
    value = overlap.max(axis=0)
    matches = jnp.where(value >= high, best, jnp.where(value >= low, IGNORED, BACKGROUND))
    # Padding alone has value -1: background for every low, also for one that is 0.
    matches = jnp.where(value < 0, BACKGROUND, matches)
    if low_quality:
        top = overlap.max(axis=1, keepdims=True)  # [N, 1]
        # Differs from torchvision: an object that no anchor touches would claim every anchor.
        claimed = jnp.any((overlap == top) & (top > 0), axis=0)
        matches = jnp.where(claimed, best, matches)
    return matches


def match_default_boxes(
    overlap: Float[Array, "n a"], valid: Bool[Array, " n"], *, threshold: float
) -> Int[Array, " a"]:
    """The index of each default box's object or BACKGROUND (-1): SSD's matching.

    A box takes the object it overlaps most (the first of equals) at an IoU of at least `threshold`.
    Then each object claims the one box that overlaps it most (the first of equals), whatever that
    one took; of objects that claim the same box the last gets it. Objects that are not `valid` are
    padding; they and those that no box touches claim nothing. Liu et al. 2016,
    https://arxiv.org/abs/1512.02325, section 2.2.
    """
    n, boxes = overlap.shape
    if n == 0:
        return jnp.full(boxes, BACKGROUND, jnp.int32)
    overlap = jnp.where(valid[:, None], overlap, -1.0)
    best = jnp.argmax(overlap, axis=0).astype(jnp.int32)
    value = overlap.max(axis=0)
    matches = jnp.where((value >= threshold) & (value >= 0), best, BACKGROUND)
    claimed = jnp.argmax(overlap, axis=1)  # [N]
    claims = jax.nn.one_hot(claimed, boxes, dtype=bool) & (overlap.max(axis=1) > 0)[:, None]
    last = jnp.where(claims, jnp.arange(n, dtype=jnp.int32)[:, None], BACKGROUND).max(axis=0)
    return jnp.where(last >= 0, last, matches)


def match_atss(
    boxes: Float[Array, "n 4"],
    valid: Bool[Array, " n"],
    anchors: Float[Array, "a 4"],
    level_sizes: Sequence[int],
    *,
    candidates: int,
) -> Int[Array, " a"]:
    """The index of each anchor's object or BACKGROUND (-1): adaptive training sample selection.

    An object's candidates are, of each level, the `candidates` anchors whose centres are nearest
    to its own (the first of equals; all, if there are fewer). Those whose IoU with it is at least
    the mean plus the standard deviation of all its candidates', and whose centre lies inside of it
    (not on its edge), stand for it; an anchor that would stand for several takes the one it
    overlaps most (the first of equals). `level_sizes` are the numbers of anchors of the levels,
    which follow each other; where a place has several anchors, ask for so many times as many
    `candidates`. Objects that are not `valid` are padding and match nothing.
    Zhang et al. 2020, https://arxiv.org/abs/1912.02424, algorithm 1; the standard deviation is that
    of a sample (n - 1), as in the authors' code.

    Raises:
        ValueError: if candidates is not positive, or level_sizes do not sum to the anchors.
    """
    if candidates < 1:
        raise ValueError(f"match_atss: candidates is {candidates}. It must be at least 1.")
    if sum(level_sizes) != anchors.shape[0]:
        raise ValueError(
            f"match_atss: level_sizes {tuple(level_sizes)} sum to {sum(level_sizes)}, but there "
            f"are {anchors.shape[0]} anchors."
        )
    n, count = boxes.shape[0], anchors.shape[0]
    if n == 0 or count == 0:
        return jnp.full(count, BACKGROUND, jnp.int32)
    boxes = boxes.astype(jnp.promote_types(boxes.dtype, jnp.float32))
    center, places = (boxes[:, :2] + boxes[:, 2:]) / 2, (anchors[:, :2] + anchors[:, 2:]) / 2
    distance = jnp.square(center[:, None] - places[None]).sum(axis=-1)  # [N, A]
    nearest = []
    for start, end in pairwise(accumulate(level_sizes, initial=0)):
        _, index = jax.lax.top_k(-distance[:, start:end], min(candidates, end - start))
        nearest.append(start + index)
    nearest = jnp.concatenate(nearest, axis=1)  # [N, C]

    overlap = pairwise_iou(boxes, anchors)
    values = jnp.take_along_axis(overlap, nearest, axis=1)
    mean = values.mean(axis=1)
    spread = jnp.sqrt(jnp.square(values - mean[:, None]).sum(axis=1) / max(values.shape[1] - 1, 1))
    place = places[nearest]  # [N, C, 2]
    inside = (place > boxes[:, None, :2]) & (place < boxes[:, None, 2:])
    good = (values >= (mean + spread)[:, None]) & jnp.all(inside, axis=-1) & valid[:, None]
    rows = jnp.arange(n)[:, None]
    stands = jnp.zeros((n, count), bool).at[rows, nearest].set(good)
    value = jnp.where(stands, overlap, -1.0)
    best = jnp.argmax(value, axis=0).astype(jnp.int32)
    return jnp.where(jnp.any(stands, axis=0), best, BACKGROUND)
