"""Soft non-maximum suppression: a box near a better one loses score in place of its life."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from cvjax.ops.boxes import pairwise_iou


def soft_nms(
    boxes: Float[Array, "n 4"],
    scores: Float[Array, " n"],
    labels: Int[Array, " n"] | None = None,
    *,
    decay: Literal["linear", "gaussian"],
    max_outputs: int,
    iou_threshold: float = 0.3,
    sigma: float = 0.5,
    min_score: float = 0.001,
) -> tuple[Int[Array, " m"], Float[Array, " m"], Bool[Array, " m"]]:
    """Indices by descending new score, these scores, and which of `max_outputs` are filled.

    The highest remaining score is chosen again and again (the first of equals), and every box left
    is multiplied by 1 - IoU where its IoU with the chosen one is above `iou_threshold` ("linear")
    or by exp(-IoU^2 / `sigma`) ("gaussian"). It ends below `min_score`. With `labels`, only boxes
    of the same label touch each other. NaN marks padding. Unfilled outputs hold index 0 and
    score 0. One image: vmap over a batch. One step an output.
    Bodla et al. 2017, https://arxiv.org/abs/1704.04503.

    Raises:
        ValueError: if decay is unknown, max_outputs or sigma not positive, or min_score negative.
    """
    if decay not in ("linear", "gaussian"):
        raise ValueError(f"soft_nms: decay is {decay!r}. Take 'linear' or 'gaussian'.")
    if max_outputs < 1 or sigma <= 0 or min_score < 0:
        raise ValueError(
            f"soft_nms: got max_outputs={max_outputs}, sigma={sigma}, min_score={min_score}. "
            "The first two must be positive, the last at least 0."
        )
    n = boxes.shape[0]
    if n == 0:
        zeros = jnp.zeros(max_outputs, jnp.int32)
        return zeros, zeros.astype(scores.dtype), zeros > 0
    labels = jnp.zeros(n, jnp.int32) if labels is None else labels
    scores = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))

    def step(state, _):
        scores, left = state
        index = jnp.argmax(jnp.where(left, scores, -jnp.inf)).astype(jnp.int32)
        score, valid = scores[index], left[index]
        overlap = pairwise_iou(boxes[index][None], boxes)[0]
        if decay == "linear":
            factor = jnp.where(overlap > iou_threshold, 1 - overlap, 1.0)
        else:
            factor = jnp.exp(-jnp.square(overlap) / sigma)
        factor = jnp.where(valid & (labels == labels[index]), factor, 1.0)
        scores = scores * factor.astype(scores.dtype)
        left = left & (jnp.arange(n) != index) & (scores >= min_score)
        return (scores, left), (jnp.where(valid, index, 0), jnp.where(valid, score, 0.0), valid)

    left = scores >= min_score  # false for NaN
    state = (jnp.where(left, scores, 0.0), left)
    _, outputs = jax.lax.scan(step, state, length=max_outputs)
    return outputs
