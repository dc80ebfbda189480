"""Losses of detectors: one value per box or score; masks and sums are the caller's.

Whatever the inputs' type, the arithmetic is float32 (float64 stays float64).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def sigmoid_focal_loss(
    logits: Float[Array, "*b"],
    target: Float[Array, "*b"],
    *,
    alpha: float | None = 0.25,
    gamma: float = 2.0,
) -> Float[Array, "*b"]:
    """Binary cross-entropy times (1 - p_t)^gamma, p_t the probability given to the target.

    `target` is 0 or 1; `alpha` weights ones and 1 - alpha zeros, None weights neither.
    Lin et al. 2017, https://arxiv.org/abs/1708.02002, eq. 5.
    """
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    target = target.astype(logits.dtype)
    logits = (2 * target - 1) * logits
    log_p = jax.nn.log_sigmoid(logits)
    # exp of a log keeps a finite gradient where 1 - p_t underflows, for every gamma >= 0. That log
    # is -softplus(x) where log_p is -softplus(-x), and softplus(x) = softplus(-x) + x.
    loss = -log_p * jnp.exp(gamma * (log_p - logits))
    if alpha is None:
        return loss
    return loss * (alpha * target + (1 - alpha) * (1 - target))


def smooth_l1(
    prediction: Float[Array, "*b"], target: Float[Array, "*b"], *, beta: float = 1.0
) -> Float[Array, "*b"]:
    """|d| - beta / 2 beyond `beta`, d^2 / (2 beta) within; |d| for beta 0.

    Girshick 2015, https://arxiv.org/abs/1504.08083, eq. 3 (beta 1).

    Raises:
        ValueError: if beta is negative.
    """
    if beta < 0:
        raise ValueError(f"smooth_l1: beta is {beta}. It must be at least 0.")
    dtype = jnp.promote_types(prediction.dtype, jnp.float32)
    distance = jnp.abs(prediction.astype(dtype) - target.astype(dtype))
    if beta == 0:
        return distance
    return jnp.where(distance < beta, distance**2 / (2 * beta), distance - beta / 2)
