"""How each optimizer moves one tensor: SGD, Adagrad, Adadelta, RMSProp, the Adams, LARS, LAMB.

A rule is a pure function of a tensor's gradient and its slots (what the optimizer remembers of it).
Names, defaults and arithmetic are PyTorch's (torch.optim), with betas called b1 and b2, so that a
recipe carries over with its numbers; LARS and LAMB are their papers'.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Slots = dict[str, jax.Array]
Scalars = dict[str, jax.Array]


class Situation(NamedTuple):
    """What a rule knows beside the tensor."""

    lr: jax.Array  # of this tensor at this step
    weight_decay: float  # of this tensor; 0 unless the rule's decay is "own"
    adapt: bool  # whether LARS and LAMB scale this tensor's step by its norm
    count: jax.Array  # updates so far, this one included, as a float
    scalars: Scalars  # after `advance`


Step = Callable[[jax.Array, Slots, jax.Array, Situation], tuple[jax.Array, Slots]]


@dataclasses.dataclass(frozen=True)
class Rule:
    """An optimizer for one tensor.

    `step(grad, slots, param, situation)` returns what is to be subtracted from the parameter (the
    learning rate is in it) and the new slots. `slots` gives their names and first values. `decay`
    says how weight decay enters: "coupled" adds weight_decay * param to the gradient before
    `step`; "decoupled" shrinks the parameter by lr * weight_decay beside it; "own": in `step`.
    """

    step: Step
    slots: Mapping[str, float] = dataclasses.field(default_factory=dict)
    decay: str = "coupled"
    scalars: Mapping[str, float] = dataclasses.field(default_factory=dict)
    advance: Callable[[Scalars, jax.Array], Scalars] = lambda scalars, count: scalars


def sgd(*, momentum: float = 0.0, dampening: float = 0.0, nesterov: bool = False) -> Rule:
    """Gradient descent, with PyTorch's momentum: the learning rate stays out of the buffer."""
    if nesterov and (momentum <= 0 or dampening != 0):
        raise ValueError("nesterov: it needs momentum above 0 and dampening 0.")
    _check_range("momentum", momentum)
    if momentum == 0:
        return Rule(lambda grad, slots, param, now: (now.lr * grad, slots))

    def step(
        grad: jax.Array, slots: Slots, param: jax.Array, now: Situation
    ) -> tuple[jax.Array, Slots]:
        share = jnp.where(now.count == 1, 1.0, 1.0 - dampening)  # the first gradient counts whole
        trace = momentum * slots["momentum"] + share * grad
        direction = grad + momentum * trace if nesterov else trace
        return now.lr * direction, {"momentum": trace}

    return Rule(step, {"momentum": 0.0})


def momentum(*, momentum: float = 0.9, dampening: float = 0.0, nesterov: bool = False) -> Rule:
    """SGD with momentum (Polyak 1964)."""
    return sgd(momentum=momentum, dampening=dampening, nesterov=nesterov)


def nesterov(*, momentum: float = 0.9) -> Rule:
    """SGD with Nesterov's momentum (Sutskever et al. 2013, ICML)."""
    return sgd(momentum=momentum, nesterov=True)


def adagrad(
    *, lr_decay: float = 0.0, initial_accumulator_value: float = 0.0, eps: float = 1e-10
) -> Rule:
    """Adagrad (Duchi et al. 2011, JMLR 12): steps shrink with the sum of squared gradients."""

    def step(
        grad: jax.Array, slots: Slots, param: jax.Array, now: Situation
    ) -> tuple[jax.Array, Slots]:
        total = slots["sum"] + grad**2
        lr = now.lr / (1.0 + (now.count - 1.0) * lr_decay)
        return lr * grad / (jnp.sqrt(total) + eps), {"sum": total}

    return Rule(step, {"sum": initial_accumulator_value})


def adadelta(*, rho: float = 0.9, eps: float = 1e-6) -> Rule:
    """Adadelta (Zeiler 2012, https://arxiv.org/abs/1212.5701); the paper's step is lr = 1."""
    _check_range("rho", rho)

    def step(
        grad: jax.Array, slots: Slots, param: jax.Array, now: Situation
    ) -> tuple[jax.Array, Slots]:
        square = rho * slots["square"] + (1.0 - rho) * grad**2
        delta = jnp.sqrt(slots["delta"] + eps) / jnp.sqrt(square + eps) * grad
        new_slots = {"square": square, "delta": rho * slots["delta"] + (1.0 - rho) * delta**2}
        return now.lr * delta, new_slots

    return Rule(step, {"square": 0.0, "delta": 0.0})


def rmsprop(
    *, alpha: float = 0.99, eps: float = 1e-8, momentum: float = 0.0, centered: bool = False
) -> Rule:
    """RMSProp (Hinton 2012, lecture 6e), `eps` outside the root; `centered` as Graves 2013.

    TensorFlow's has eps inside the root and the learning rate inside the momentum.
    """
    _check_range("alpha", alpha)
    _check_range("momentum", momentum)

    def step(
        grad: jax.Array, slots: Slots, param: jax.Array, now: Situation
    ) -> tuple[jax.Array, Slots]:
        square = alpha * slots["square"] + (1.0 - alpha) * grad**2
        new_slots = {"square": square}
        variance = square
        if centered:
            mean = alpha * slots["mean"] + (1.0 - alpha) * grad
            new_slots["mean"] = mean
            variance = jnp.maximum(square - mean**2, 0.0)  # rounding must not make it negative
        direction = grad / (jnp.sqrt(variance) + eps)
        if momentum > 0:
            direction = momentum * slots["momentum"] + direction
            new_slots["momentum"] = direction
        return now.lr * direction, new_slots

    slots = {"square": 0.0}
    if centered:
        slots["mean"] = 0.0
    if momentum > 0:
        slots["momentum"] = 0.0
    return Rule(step, slots)


def adam(*, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, amsgrad: bool = False) -> Rule:
    """Adam (Kingma & Ba 2015, https://arxiv.org/abs/1412.6980); decay is part of the gradient.

    `amsgrad`: the second moment never falls (Reddi et al. 2018, https://arxiv.org/abs/1904.09237).
    """
    _check_betas(b1, b2)

    def step(
        grad: jax.Array, slots: Slots, param: jax.Array, now: Situation
    ) -> tuple[jax.Array, Slots]:
        new_slots = _moments(grad, slots, b1, b2)
        second = new_slots["nu"]
        if amsgrad:
            second = new_slots["nu_max"] = jnp.maximum(slots["nu_max"], second)
        mean = new_slots["mu"] / _bias_correction(b1, now.count)
        root = jnp.sqrt(second) / jnp.sqrt(_bias_correction(b2, now.count))
        return now.lr * mean / (root + eps), new_slots

    slots = {"mu": 0.0, "nu": 0.0}
    return Rule(step, slots | {"nu_max": 0.0} if amsgrad else slots)


def adamw(*, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, amsgrad: bool = False) -> Rule:
    """Adam with decoupled decay (Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101).

    As everywhere in practice, the decay is multiplied by the learning rate, schedule included.
    """
    return dataclasses.replace(adam(b1=b1, b2=b2, eps=eps, amsgrad=amsgrad), decay="decoupled")


def nadam(
    *, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, momentum_decay: float = 4e-3
) -> Rule:
    """Adam with Nesterov's momentum, whose b1 warms up (Dozat 2016, ICLR workshop)."""
    _check_betas(b1, b2)

    def warm_b1(count: jax.Array) -> jax.Array:
        return b1 * (1.0 - 0.5 * 0.96 ** (count * momentum_decay))

    def advance(scalars: Scalars, count: jax.Array) -> Scalars:
        return {"b1_product": scalars["b1_product"] * warm_b1(count)}

    def step(
        grad: jax.Array, slots: Slots, param: jax.Array, now: Situation
    ) -> tuple[jax.Array, Slots]:
        new_slots = _moments(grad, slots, b1, b2)
        this, following = warm_b1(now.count), warm_b1(now.count + 1.0)
        product = now.scalars["b1_product"]
        mean = (1.0 - this) / (1.0 - product) * grad
        mean = mean + following / (1.0 - product * following) * new_slots["mu"]
        root = jnp.sqrt(new_slots["nu"] / _bias_correction(b2, now.count))
        return now.lr * mean / (root + eps), new_slots

    return Rule(step, {"mu": 0.0, "nu": 0.0}, scalars={"b1_product": 1.0}, advance=advance)


def radam(*, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Rule:
    """Rectified Adam (Liu et al. 2020, https://arxiv.org/abs/1908.03265)."""
    _check_betas(b1, b2)
    length = 2.0 / (1.0 - b2) - 1.0  # rho_inf: the longest average's length

    def step(
        grad: jax.Array, slots: Slots, param: jax.Array, now: Situation
    ) -> tuple[jax.Array, Slots]:
        new_slots = _moments(grad, slots, b1, b2)
        correction = _bias_correction(b2, now.count)
        mean = new_slots["mu"] / _bias_correction(b1, now.count)
        rho = length - 2.0 * now.count * b2**now.count / correction
        safe = jnp.maximum(rho, 5.0)
        rectifier = jnp.sqrt(
            (safe - 4.0) * (safe - 2.0) * length / ((length - 4.0) * (length - 2.0) * safe)
        )
        adapted = rectifier * jnp.sqrt(correction) / (jnp.sqrt(new_slots["nu"]) + eps)
        return now.lr * mean * jnp.where(rho > 5.0, adapted, 1.0), new_slots

    return Rule(step, {"mu": 0.0, "nu": 0.0})


def adamax(*, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Rule:
    """Adam with the infinity norm (Kingma & Ba 2015, section 7.1)."""
    _check_betas(b1, b2)

    def step(
        grad: jax.Array, slots: Slots, param: jax.Array, now: Situation
    ) -> tuple[jax.Array, Slots]:
        mean = b1 * slots["mu"] + (1.0 - b1) * grad
        largest = jnp.maximum(b2 * slots["largest"], jnp.abs(grad) + eps)
        delta = now.lr / _bias_correction(b1, now.count) * mean / largest
        return delta, {"mu": mean, "largest": largest}

    return Rule(step, {"mu": 0.0, "largest": 0.0})


def lars(*, momentum: float = 0.9, trust_coefficient: float = 0.001, eps: float = 0.0) -> Rule:
    """LARS (You et al. 2017, https://arxiv.org/abs/1708.03888, algorithm 1).

    The learning rate is inside the momentum. A tensor of zeros, or one without a gradient, takes
    the plain step, as in the authors' code.
    """
    _check_range("momentum", momentum)

    def step(
        grad: jax.Array, slots: Slots, param: jax.Array, now: Situation
    ) -> tuple[jax.Array, Slots]:
        trust: jax.Array | float = 1.0
        if now.adapt:
            size, slope = _norm(param), _norm(grad)
            ratio = trust_coefficient * size / (slope + now.weight_decay * size + eps)
            trust = jnp.where((size > 0) & (slope > 0), ratio, 1.0)
        decayed = grad + now.weight_decay * param
        velocity = momentum * slots["momentum"] + now.lr * trust * decayed
        return velocity, {"momentum": velocity}

    return Rule(step, {"momentum": 0.0}, decay="own")


def lamb(*, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-6) -> Rule:
    """LAMB (You et al. 2020, https://arxiv.org/abs/1904.00962, algorithm 2, phi(z) = z).

    A tensor of zeros, or one whose step is zero, takes the plain step.
    """
    _check_betas(b1, b2)

    def step(
        grad: jax.Array, slots: Slots, param: jax.Array, now: Situation
    ) -> tuple[jax.Array, Slots]:
        new_slots = _moments(grad, slots, b1, b2)
        mean = new_slots["mu"] / _bias_correction(b1, now.count)
        root = jnp.sqrt(new_slots["nu"] / _bias_correction(b2, now.count))
        direction = mean / (root + eps) + now.weight_decay * param
        trust: jax.Array | float = 1.0
        if now.adapt:
            size, length = _norm(param), _norm(direction)
            apart = (size > 0) & (length > 0)
            trust = jnp.where(apart, size / jnp.where(apart, length, 1.0), 1.0)
        return now.lr * trust * direction, new_slots

    return Rule(step, {"mu": 0.0, "nu": 0.0}, decay="own")


RULES: Mapping[str, Callable[..., Rule]] = {
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": nesterov,
    "adagrad": adagrad,
    "adadelta": adadelta,
    "rmsprop": rmsprop,
    "adam": adam,
    "adamw": adamw,
    "nadam": nadam,
    "radam": radam,
    "adamax": adamax,
    "lars": lars,
    "lamb": lamb,
}


def _moments(grad: jax.Array, slots: Slots, b1: float, b2: float) -> Slots:
    """The running means of the gradient and of its square."""
    return {
        "mu": b1 * slots["mu"] + (1.0 - b1) * grad,
        "nu": b2 * slots["nu"] + (1.0 - b2) * grad**2,
    }


def _bias_correction(decay: float, count: jax.Array) -> jax.Array:
    """1 - decay ** count, to float32's last digits: 1 - 0.999 in float32 has four."""
    if decay == 0:
        return jnp.ones_like(count)
    return -jnp.expm1(count * float(np.log(decay)))


def _norm(x: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.sum(x**2))


def _check_betas(b1: float, b2: float) -> None:
    _check_range("b1", b1)
    _check_range("b2", b2)


def _check_range(name: str, value: Any) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{name}: a number from 0 to below 1 is needed, got {value!r}.")
