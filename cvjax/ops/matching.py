"""Which object each anchor answers for."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

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
