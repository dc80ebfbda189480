"""Boxes as offsets from anchors: what a box head predicts.

Girshick et al. 2014, https://arxiv.org/abs/1311.2524, appendix C.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from cvjax.ops.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh

# Largest log of a decoded size over its anchor's: a 16 px anchor reaches 1000 px (torchvision).
MAX_LOG_SCALE = math.log(1000 / 16)
Weights = tuple[float, float, float, float]


def encode_boxes(
    boxes: Float[Array, "*b 4"],
    anchors: Float[Array, "*b 4"],
    *,
    weights: Weights = (1.0, 1.0, 1.0, 1.0),
) -> Float[Array, "*b 4"]:
    """Centre offsets over the anchor's size, and log size ratios, each times its weight.

    Both must have positive sides: the code of an empty box is not finite, so mask it before it
    reaches a loss. SSD's variances (0.1, 0.1, 0.2, 0.2) are weights (10, 10, 5, 5).
    """
    box, anchor = xyxy_to_cxcywh(boxes), xyxy_to_cxcywh(anchors)
    offset = (box[..., :2] - anchor[..., :2]) / anchor[..., 2:]
    scale = jnp.log(box[..., 2:] / anchor[..., 2:])
    codes = jnp.concatenate([offset, scale], axis=-1)
    return codes * _like(weights, codes)


def decode_boxes(
    codes: Float[Array, "*b 4"],
    anchors: Float[Array, "*b 4"],
    *,
    weights: Weights = (1.0, 1.0, 1.0, 1.0),
    max_log_scale: float = MAX_LOG_SCALE,
) -> Float[Array, "*b 4"]:
    """The boxes (x1, y1, x2, y2) of `codes`: the inverse of `encode_boxes`.

    Log size ratios above `max_log_scale` are cut, so that no code overflows.
    """
    anchor = xyxy_to_cxcywh(anchors)
    codes = codes / _like(weights, codes)
    center = anchor[..., :2] + codes[..., :2] * anchor[..., 2:]
    size = anchor[..., 2:] * jnp.exp(jnp.minimum(codes[..., 2:], max_log_scale))
    return cxcywh_to_xyxy(jnp.concatenate([center, size], axis=-1))


def _like(weights: Weights, codes: Array) -> Array:
    return jnp.broadcast_to(jnp.asarray(weights, codes.dtype), codes.shape)
