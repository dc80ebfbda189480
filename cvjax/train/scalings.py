"""Scalings of gradients that Optax lacks, or computes otherwise than PyTorch or the paper.

They are Optax transformations, to be chained with its own; what differs is said at each.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


def bias_correction(decay: float, count: jax.Array) -> jax.Array:
    """1 - decay ** count, to float32's last digits: 1 - 0.999 in float32 has four."""
    if decay == 0:
        return jnp.ones_like(count, float)
    return -jnp.expm1(count * math.log(decay))


def scale_by_adam(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """`optax.scale_by_adam` with bias corrections that are exact in float32 too.

    Optax's are `1 - decay ** count`; undone here is what `optax.tree.bias_correction` rounds, up to
    1.5e-5 of a step, so that nothing changes where it rounds nothing.
    """

    def exact(decay: float, count: jax.Array) -> jax.Array:
        rounded = 1.0 / optax.tree.bias_correction(jnp.ones(()), decay, count)
        return bias_correction(decay, count) / rounded

    def correction(count: jax.Array) -> jax.Array:
        return jnp.sqrt(exact(b2, count + 1)) / exact(b1, count + 1)

    return optax.chain(optax.scale_by_adam(b1, b2, eps), optax.scale_by_schedule(correction))


def scale_by_amsgrad(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """Adam whose second moment never falls (Reddi et al. 2018, https://arxiv.org/abs/1904.09237).

    PyTorch takes the largest raw second moment and corrects its bias afterwards. So does Optax's
    without a correction, if `eps` and the step are multiplied by the correction's root.
    """

    def root(count: jax.Array) -> jax.Array:
        return jnp.sqrt(bias_correction(b2, count + 1))

    def inner(eps: jax.Array) -> optax.GradientTransformation:
        return optax.scale_by_amsgrad(b1, b2, eps, bias_correction_nu=False)

    return optax.chain(
        optax.inject_hyperparams(inner)(eps=lambda count: eps * root(count)),
        optax.scale_by_schedule(root),
    )


def scale_by_root_of_sum(initial: float, eps: float) -> optax.GradientTransformation:
    """Divided by the root of the sum of squares so far, plus `eps` (Adagrad).

    `optax.scale_by_rss` adds eps to the square and skips sums of 0.
    """

    def init(params: Any) -> optax.ScaleByRssState:
        return optax.ScaleByRssState(optax.tree.full_like(params, initial))

    def update(updates: Any, state: optax.ScaleByRssState, params: Any = None) -> tuple[Any, Any]:
        total = jax.tree.map(lambda s, g: s + g**2, state.sum_of_squares, updates)
        updates = jax.tree.map(lambda g, s: g / (jnp.sqrt(s) + eps), updates, total)
        return updates, optax.ScaleByRssState(total)

    return optax.GradientTransformation(init, update)


class ScaleByWarmNadamState(NamedTuple):
    """Adam's, and the product of all b1 so far."""

    count: jax.Array
    mu: Any
    nu: Any
    b1_product: jax.Array


def scale_by_warm_nadam(
    b1: float, b2: float, eps: float, momentum_decay: float
) -> optax.GradientTransformation:
    """Adam with Nesterov's momentum, whose b1 warms up (Dozat 2016, ICLR workshop).

    `optax.scale_by_adam(nesterov=True)` has a constant b1.
    """

    def warm_b1(count: jax.Array) -> jax.Array:
        return b1 * (1.0 - 0.5 * 0.96 ** (count * momentum_decay))

    def init(params: Any) -> ScaleByWarmNadamState:
        mu, nu = optax.tree.zeros_like(params), optax.tree.zeros_like(params)
        return ScaleByWarmNadamState(jnp.zeros((), jnp.int32), mu, nu, jnp.ones((), float))

    def update(updates: Any, state: ScaleByWarmNadamState, params: Any = None) -> tuple[Any, Any]:
        count = optax.safe_increment(state.count)
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment(updates, state.nu, b2, 2)
        this, following = warm_b1(count), warm_b1(count + 1)
        product = state.b1_product * this
        of_gradient = (1.0 - this) / (1.0 - product)
        of_mean = following / (1.0 - product * following)
        correction = bias_correction(b2, count)

        def scaled(g: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
            step = (of_gradient * g + of_mean * m) / (jnp.sqrt(v / correction) + eps)
            return step.astype(g.dtype)

        updates = jax.tree.map(scaled, updates, mu, nu)
        return updates, ScaleByWarmNadamState(count, mu, nu, product)

    return optax.GradientTransformation(init, update)


def scale_by_radam(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """Rectified Adam (Liu et al. 2020, https://arxiv.org/abs/1908.03265).

    `optax.scale_by_radam` adds eps to the root after its bias correction, PyTorch before; and its
    rho, a small difference of large numbers, is up to 0.03 off in float32: 1% of the first steps.
    """
    length = 2.0 / (1.0 - b2) - 1.0  # rho_inf: the longest average's length

    def init(params: Any) -> optax.ScaleByAdamState:
        mu, nu = optax.tree.zeros_like(params), optax.tree.zeros_like(params)
        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), mu, nu)

    def update(updates: Any, state: optax.ScaleByAdamState, params: Any = None) -> tuple[Any, Any]:
        count = optax.safe_increment(state.count)
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment(updates, state.nu, b2, 2)
        mean, square = bias_correction(b1, count), bias_correction(b2, count)
        rho = length - 2.0 * count * b2**count / square
        safe = jnp.maximum(rho, 5.0)
        rectifier = jnp.sqrt(
            (safe - 4.0) * (safe - 2.0) * length / ((length - 4.0) * (length - 2.0) * safe)
        )

        def scaled(m: jax.Array, v: jax.Array) -> jax.Array:
            adapted = rectifier * jnp.sqrt(square) / (jnp.sqrt(v) + eps)
            return (m / mean * jnp.where(rho > 5.0, adapted, 1.0)).astype(m.dtype)

        return jax.tree.map(scaled, mu, nu), optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(init, update)


def scale_by_lars(
    weight_decay: float, trust_coefficient: float, eps: float
) -> optax.GradientTransformation:
    """The decayed gradient times its layer's rate (You et al. 2017, arXiv:1708.03888, algorithm 1).

    A tensor of zeros, or one without a gradient, takes the plain step, as in the authors' code.
    `optax.lars` divides by the decayed gradient's norm, the paper by the sum of both norms.
    """

    def scaled(grad: jax.Array, param: jax.Array) -> jax.Array:
        size, slope = optax.tree.norm(param), optax.tree.norm(grad)
        ratio = trust_coefficient * size / (slope + weight_decay * size + eps)
        trust = jnp.where((size > 0) & (slope > 0), ratio, 1.0)
        return trust * (grad + weight_decay * param)

    return optax.stateless(lambda grads, params: jax.tree.map(scaled, grads, params))


def scale_by_trust_ratio() -> optax.GradientTransformation:
    """Steps as long as their tensors; a tensor of zeros, or a step of zeros, stays as it is (LAMB).

    `optax.scale_by_trust_ratio` takes each norm twice, for the sake of derivatives through it: with
    ResNet-50's parameters an update of LAMB would cost 1.6 times as much.
    """

    def scaled(step: jax.Array, param: jax.Array) -> jax.Array:
        size, length = optax.tree.norm(param), optax.tree.norm(step)
        apart = (size > 0) & (length > 0)
        return step * jnp.where(apart, size / jnp.where(apart, length, 1.0), 1.0)

    return optax.stateless(lambda steps, params: jax.tree.map(scaled, steps, params))
