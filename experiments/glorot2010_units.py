"""What initial weights and nonlinearities do to the units of a deep network: signals that vanish,
saturate or keep their size (Glorot & Bengio 2010; He et al. 2015, https://arxiv.org/abs/1502.01852;
Klambauer et al. 2017, https://arxiv.org/abs/1706.02515), ReLUs that die, and how much sooner a
network of ReLUs learns than one of tanh (Krizhevsky et al. 2012, section 3.1: six times).

Signals: ten layers of 512 units on 500 Gaussian inputs, deviations of the last layer's outputs over
the first layer's. Learning: scikit-learn's digits.
"""

import math
from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from cvjax.data.sources.digits import Digits
from cvjax.losses.classification import softmax_cross_entropy
from cvjax.models import create
from cvjax.nn.activation import ACTIVATIONS, initial_weights
from experiments.claim import Claim, Row

_WIDTH, _DEPTH, _INPUTS = 512, 10, 500
_SATURATED = 0.99  # of tanh
_BATCH, _STEPS = 64, 400


@cache
def _signals(kind: str, weights: str, depth: int = _DEPTH) -> list[np.ndarray]:
    """Outputs of each layer, [inputs, width]."""
    init = {
        "N(0, 0.01^2)": nn.initializers.normal(0.01),
        "N(0, 1)": nn.initializers.normal(1.0),
        "zeros": nn.initializers.zeros,
        "Xavier": nn.initializers.glorot_normal(),
        "own": initial_weights(kind),
    }[weights]
    key, x = jax.random.key(0), jax.random.normal(jax.random.key(1), (_INPUTS, _WIDTH))
    outputs = []
    for layer in range(depth):
        kernel = init(jax.random.fold_in(key, layer), (_WIDTH, _WIDTH), jnp.float32)
        x = ACTIVATIONS[kind](x @ kernel)
        outputs.append(np.asarray(x))
    return outputs


def _kept(kind: str, weights: str) -> Callable[[], float]:
    """Deviation of the last layer's outputs over that of the first layer's."""

    def measure() -> float:
        outputs = _signals(kind, weights)
        return float(outputs[-1].std() / outputs[0].std())

    return measure


def _saturated() -> float:
    return float(np.mean(np.abs(_signals("tanh", "N(0, 1)")[-1]) > _SATURATED))


def _different_units() -> float:
    """Outputs of the last layer that are not 0 when all weights start at 0."""
    return float(np.mean(_signals("relu", "zeros")[-1] != 0))


def _selu_moments() -> tuple[float, float]:
    last = _signals("selu", "own", 100)[-1]
    return float(last.mean()), float(last.var())


def _gradient_signs() -> float:
    """Share of units whose incoming weights' gradients all have one sign, for positive inputs."""
    inputs = jax.random.uniform(jax.random.key(0), (1, 64))
    kernel = jax.random.normal(jax.random.key(1), (64, 32)) / 8
    gradient = jax.grad(lambda w: jnp.square(jnp.tanh(inputs @ w) - 0.5).sum())(kernel)
    signs = np.sign(np.asarray(gradient))
    return float(np.mean(np.abs(signs.sum(axis=0)) == len(signs)))


@cache
def _digits() -> tuple[jax.Array, jax.Array]:
    train = Digits("train")
    return jnp.asarray(train.images / np.float32(255) - 0.5), jnp.asarray(train.labels)


@cache
def _learnt(activation: str, rate: float) -> tuple[dict, np.ndarray]:
    """Parameters after SGD, and each step's share of wrong examples in all of the training set."""
    images, labels = _digits()
    model = create("mlp", num_classes=10, hidden=(64, 64, 64), activation=activation)
    optimizer = optax.sgd(rate, momentum=0.9)
    params = model.init(jax.random.key(0), images[:1], train=False)["params"]
    order = np.random.default_rng(0).choice(len(labels), (_STEPS, _BATCH))

    def logits(params: dict, batch: jax.Array) -> jax.Array:
        return model.apply({"params": params}, batch, train=False)[0]

    def step(carry: tuple, batch: jax.Array) -> tuple:
        params, state = carry

        def loss(params: dict) -> jax.Array:
            return softmax_cross_entropy(logits(params, images[batch]), labels[batch]).mean()

        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), (logits(params, images).argmax(-1) != labels).mean()

    run = jax.jit(lambda params: jax.lax.scan(step, (params, optimizer.init(params)), order))
    (params, _), errors = run(params)
    return params, np.asarray(errors)


def _dead(activation: str, rate: float) -> float:
    """Share of hidden units whose input is never positive on a training example, so that a ReLU
    gets no gradient from any of them."""
    params, _ = _learnt(activation, rate)
    x = _digits()[0].reshape(len(_digits()[0]), -1)
    dead = []
    for layer in ("hidden1", "hidden2", "hidden3"):
        before = x @ params[layer]["kernel"] + params[layer]["bias"][None]
        dead.append(np.asarray((before <= 0).all(axis=0)))
        x = ACTIVATIONS[activation](before)
    return float(np.mean(dead))


def _speed() -> float:
    """Steps that tanh takes to a training error of a quarter, over those of ReLU, each at the best
    of three rates."""

    def steps(activation: str) -> int:
        found = []
        for rate in (0.003, 0.01, 0.03):
            below = np.flatnonzero(_learnt(activation, rate)[1] <= 0.25)
            found.append(below[0] + 1 if len(below) else math.inf)
        return min(found)

    return steps("tanh") / steps("relu")


CLAIM = Claim(
    statement="Initial weights decide whether signals pass ten layers; ReLUs can die, and are fast",
    source="Glorot & Bengio 2010, He et al. 2015, Klambauer et al. 2017, Krizhevsky et al. 2012",
    rows=(
        Row("tanh, weights N(0, 0.01²): signal kept", 1e-3, _kept("tanh", "N(0, 0.01^2)"),
            relation="at most", note="vanishes"),
        Row("tanh, weights N(0, 1): saturated outputs", 0.8, _saturated,
            relation="at least", note="saturates"),
        Row("tanh, Xavier: signal kept", 0.25, _kept("tanh", "Xavier"), relation="at least"),
        Row("ReLU, Xavier: signal kept", 2**-4.5, _kept("relu", "Xavier"), tolerance=0.02,
            note="half of the variance is lost in each of nine layers"),
        Row("ReLU, He: signal kept", 1.0, _kept("relu", "own"), tolerance=0.3),
        Row("ReLU, zeros: outputs that differ from 0", 0.0, _different_units),
        Row("SELU, 100 layers: mean and variance", (0.0, 1.0), _selu_moments, tolerance=0.2),
        Row("positive inputs: units whose gradients all have one sign", 1.0, _gradient_signs,
            note="so that steps zig-zag"),
        Row("dead ReLUs after SGD at 0.3", 0.5, lambda: _dead("relu", 0.3),
            relation="at least", recomputed=False, note="a rate too high"),
        Row("dead ReLUs after SGD at 0.1", 0.05, lambda: _dead("relu", 0.1),
            relation="at most", recomputed=False),
        Row("tanh's steps to 25% training error over ReLU's", 6.0, _speed,
            relation="at least", recomputed=False, holds=False,
            note="three layers of tanh do not saturate on digits"),
    ),
)  # fmt: skip
