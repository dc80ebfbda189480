"""Losses of classifiers: one value per example, and the ways to reduce them to one number.

Every loss takes scores with the classes last and returns one value for each leading position, so
the same functions serve images [B, K], pixels [B, H, W, K] and tokens [B, T, K]. Whatever the
scores' type, the arithmetic is float32 (float64 stays float64).

An integer label outside [0, K) makes that example's loss NaN rather than quietly counting as some
class; positions that are to be ignored (padding, label 255 of a segmentation) are named by `valid`
of the reductions, which take them out of the sum, the count and the gradient.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped


def softmax_cross_entropy(
    logits: Float[Array, "*b k"],
    target: Shaped[Array, "..."],
    *,
    label_smoothing: float = 0.0,
    class_weights: Float[Array, "k"] | None = None,
) -> Float[Array, "*b"]:
    """-sum_k p_k log softmax(logits)_k, in nats; 0 at best, unbounded above, ln K for equal scores.

    `target` is either integer labels [*b] or probabilities [*b, k] (mixed examples, teachers).
    As torch's F.cross_entropy: smoothing replaces p by (1 - s) p + s / K, and class weights
    multiply the terms of the sum. Torch's weighted mean divides by the sum of the labels' weights:
    see `counts` of `mean`.

    A class masked by a score of -inf has probability 0 and costs nothing, unless the target (or
    smoothing) gives it weight, when the loss is infinite, as it must be.

    Raises:
        ValueError: if `target` fits neither form.
    """
    logits = _at_least_float32(logits)
    num_classes = logits.shape[-1]
    log_p = jax.nn.log_softmax(logits, axis=-1)
    weights = None if class_weights is None else jnp.broadcast_to(class_weights, logits.shape)
    if _is_labels(logits, target):
        loss = -_pick(log_p, target)
        if weights is not None:
            loss = loss * _pick(weights, target)
        if label_smoothing:
            uniform = -(log_p if weights is None else log_p * weights).sum(axis=-1) / num_classes
            loss = (1 - label_smoothing) * loss + label_smoothing * uniform
        return _nan_unless_class(loss, target, num_classes)
    p = target.astype(logits.dtype)
    if label_smoothing:
        p = (1 - label_smoothing) * p + label_smoothing / num_classes
    return -_product(p if weights is None else p * weights, log_p).sum(axis=-1)


def sigmoid_cross_entropy(
    logits: Float[Array, "*b k"],
    target: Shaped[Array, "..."],
    *,
    label_smoothing: float = 0.0,
    positive_weights: Float[Array, "k"] | None = None,
) -> Float[Array, "*b"]:
    """The sum over classes of K two-way cross-entropies, one-vs-rest; K ln 2 for scores of 0.

    `target` is either integer labels [*b] (that class against all others) or multi-hot values
    [*b, k] in [0, 1]. Smoothing replaces each t by (1 - s) t + s / 2, the rule of softmax with two
    classes. `positive_weights` multiply the positive terms (torch's `pos_weight`). Torch's mean
    over all elements is this divided by K.

    Raises:
        ValueError: if `target` fits neither form.
    """
    logits = _at_least_float32(logits)
    labels = _is_labels(logits, target)
    if labels:
        t = jax.nn.one_hot(target, logits.shape[-1], dtype=logits.dtype)
    else:
        t = target.astype(logits.dtype)
    if label_smoothing:
        t = (1 - label_smoothing) * t + label_smoothing / 2
    positive = t if positive_weights is None else t * jnp.broadcast_to(positive_weights, t.shape)
    loss = _product(positive, jax.nn.softplus(-logits)) + _product(1 - t, jax.nn.softplus(logits))
    loss = loss.sum(axis=-1)
    return _nan_unless_class(loss, target, logits.shape[-1]) if labels else loss


def multiclass_hinge(
    logits: Float[Array, "*b k"],
    label: Int[Array, "*b"],
    *,
    margin: float = 1.0,
    squared: bool = False,
) -> Float[Array, "*b"]:
    """sum over wrong classes j of max(0, s_j - s_label + margin), or of its square.

    The multiclass SVM of Weston and Watkins (1999) as CS231n teaches it: 0 as soon as the right
    score leads every other by the margin, so a small change of it, or doubling all weights, may
    leave the loss where it is; K - 1 for equal scores and margin 1. At the kink the gradient is 0.
    """
    logits = _at_least_float32(logits)
    right = _pick(logits, label)[..., None]  # [*b, 1]
    slack = jax.nn.relu(logits - right + margin)  # [*b, k]
    wrong = 1 - jax.nn.one_hot(label, logits.shape[-1], dtype=logits.dtype)
    loss = _product(wrong, slack**2 if squared else slack).sum(axis=-1)
    return _nan_unless_class(loss, label, logits.shape[-1])


def total(values: Float[Array, "*b"], valid: Bool[Array, "*b"] | None = None) -> Float[Array, ""]:
    """The sum of `values` where `valid`; whatever stands elsewhere, NaN too, has no effect."""
    return (values if valid is None else jnp.where(valid, values, 0.0)).sum()


def mean(
    values: Float[Array, "*b"],
    valid: Bool[Array, "*b"] | None = None,
    *,
    counts: Float[Array, "*b"] | None = None,
) -> Float[Array, ""]:
    """The mean of `values` where `valid`; 0, with zero gradient, where nothing is valid.

    `counts` is how much each value counts in the divisor (1 by default): the labels' class weights
    give torch's weighted mean of values that were weighted already.
    """
    if counts is None:
        counts = jnp.ones_like(values)
    divisor = total(counts, valid)
    return total(values, valid) / jnp.where(divisor == 0, 1.0, divisor)


def _at_least_float32(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _is_labels(logits: Array, target: Array) -> bool:
    if jnp.issubdtype(target.dtype, jnp.integer) and target.shape == logits.shape[:-1]:
        return True
    if jnp.issubdtype(target.dtype, jnp.floating) and target.shape == logits.shape:
        return False
    raise ValueError(
        f"target: got {target.dtype}{list(target.shape)} for scores of shape {list(logits.shape)}; "
        f"expected integer labels {list(logits.shape[:-1])} or float values {list(logits.shape)}."
    )


def _pick(values: Array, label: Array) -> Array:
    """values[..., label], with the label clipped to the classes that exist."""
    label = jnp.clip(label, 0, values.shape[-1] - 1)
    return jnp.take_along_axis(values, label[..., None], axis=-1).squeeze(-1)


def _nan_unless_class(loss: Array, label: Array, num_classes: int) -> Array:
    # Last, by a select: an ignored position's NaN must not reach the gradient as 0 * NaN.
    return jnp.where((label >= 0) & (label < num_classes), loss, jnp.nan)


def _product(weight: Array, value: Array) -> Array:
    """weight * value with 0 * inf = 0, in the value and in the gradient."""
    nothing = weight == 0
    return jnp.where(nothing, 0.0, weight * jnp.where(nothing, 0.0, value))
