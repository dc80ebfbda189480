"""What transfers, how far down to train, and how much data it takes (Yosinski et al. 2014, "How
transferable are features in deep neural networks?", https://arxiv.org/abs/1411.1792).

Their experiment in small: the ten digits of scikit-learn are split at random into five classes of a
base task and five of a target task. A CNN of four layers and a head learns the base task; its first
n layers are copied, and frozen or trained further on a few examples a class of the target. Five
seeds of split, weights and order. Everything trains by SGD with momentum 0.9 in batches of 16.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cvjax.data.source import stratified_split
from cvjax.data.sources.digits import Digits
from cvjax.losses.classification import softmax_cross_entropy
from cvjax.models import create
from experiments.claim import Claim, Row

LAYERS = ("conv1", "conv2", "conv3", "hidden", "head")
SEEDS = range(5)
COUNTS = (2, 10, 100)  # examples a class of the target task
STEPS = 300  # of every run
RATE = 0.05
_BATCH = 16
_MODEL = create("small_cnn", num_classes=5, channels=(16, 32, 32), hidden=64)
_SGD = optax.sgd(1.0, momentum=0.9)


@dataclass(frozen=True)
class _Task:
    """One seed's halves: indices into all digits, and each digit's label within its half."""

    images: np.ndarray  # [N, 8, 8, 1]
    labels: np.ndarray  # [N], 0 to 4
    base: np.ndarray
    target: Mapping[int, np.ndarray]  # examples a class -> indices
    test: np.ndarray

    def order(self, indices: np.ndarray, seed: int) -> np.ndarray:
        """Indices [STEPS, _BATCH], drawn with replacement."""
        return np.random.default_rng(seed).choice(indices, (STEPS, _BATCH))


@cache
def study() -> dict[str, np.ndarray]:
    """Accuracies on the target's test digits by name of the way, one a seed."""
    found: dict[str, list[float]] = {}
    for seed in SEEDS:
        for name, accuracy in _ways(seed).items():
            found.setdefault(name, []).append(accuracy)
    return {name: np.asarray(values) for name, values in found.items()}


def _ways(seed: int) -> dict[str, float]:
    task = _split(seed)
    fresh, base_start = _fresh(2 * seed), _fresh(2 * seed + 1)
    everything = dict.fromkeys(LAYERS, RATE)
    base_order = task.order(task.base, seed)
    base = _train(task.images, task.labels, base_start, everything, base_order)
    found = {}

    def learn(start: Any, rates: Mapping[str, float], count: int, part: int = 0) -> Any:
        order = task.order(task.target[count], 100 * seed + part)
        return _train(task.images, task.labels, start, dict(rates), order)

    def accuracy(params: Any) -> float:
        return float(_accuracy(task.images[task.test], task.labels[task.test], params))

    for count in COUNTS:
        found[f"scratch, {count}"] = accuracy(learn(fresh, everything, count))
        frozen_random = dict.fromkeys(LAYERS, 0.0) | {"head": RATE}
        found[f"random, {count}"] = accuracy(learn(fresh, frozen_random, count))
        for cut in range(1, len(LAYERS)):
            start = {name: (base if i < cut else fresh)[name] for i, name in enumerate(LAYERS)}
            still = {name: 0.0 if i < cut else RATE for i, name in enumerate(LAYERS)}
            found[f"frozen {cut}, {count}"] = accuracy(learn(start, still, count))
            found[f"tuned {cut}, {count}"] = accuracy(learn(start, everything, count))
        # The five-step recipe: the head alone, then everything at a tenth of the rate.
        head_only = dict.fromkeys(LAYERS, 0.0) | {"head": RATE}
        tenth = dict.fromkeys(LAYERS, RATE / 10)
        trained = learn(start, head_only, count)
        found[f"recipe, {count}"] = accuracy(learn(trained, tenth, count, part=1))
        # The same number of steps, everything from the first one on.
        for name, rates in (("early", everything), ("early, slowly", tenth)):
            half = learn(start, rates, count)
            found[f"{name}, {count}"] = accuracy(learn(half, rates, count, part=1))
    return found


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    whole = Digits("train", test_fraction=0.0)
    return whole.images / np.float32(255) - 0.5, whole.labels


def _split(seed: int) -> _Task:
    images, digits = _digits()
    classes = np.random.default_rng(seed).permutation(10)
    place = np.argsort(classes)  # digit -> its place among the shuffled classes
    labels, in_base = (place % 5)[digits], (place < 5)[digits]
    parts = stratified_split(digits, {"test": 0.3}, seed=seed)
    train = parts["train"]
    target = {}
    for count in COUNTS:
        of_class = [train[digits[train] == digit][:count] for digit in classes[5:]]
        target[count] = np.concatenate(of_class)
    test = parts["test"][~in_base[parts["test"]]]
    return _Task(images, labels.astype(np.int32), train[in_base[train]], target, test)


def _fresh(seed: int) -> Any:
    return _MODEL.init(jax.random.key(seed), jnp.zeros((1, 8, 8, 1)), train=False)["params"]


@jax.jit
def _train(
    images: jax.Array, labels: jax.Array, params: Any, rates: Mapping[str, Any], order: jax.Array
) -> Any:
    """Parameters after SGD with each layer's own rate; 0 freezes."""

    def loss(params: Any, batch: jax.Array) -> jax.Array:
        logits, _ = _MODEL.apply({"params": params}, images[batch], train=True)
        return softmax_cross_entropy(logits, labels[batch]).mean()

    def step(carry: Any, batch: jax.Array) -> Any:
        params, state = carry
        updates, state = _SGD.update(jax.grad(loss)(params, batch), state, params)
        updates = {
            name: jax.tree.map(partial(jnp.multiply, rates[name]), update)
            for name, update in updates.items()
        }
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (params, _SGD.init(params)), order)
    return params


@jax.jit
def _accuracy(images: jax.Array, labels: jax.Array, params: Any) -> jax.Array:
    logits, _ = _MODEL.apply({"params": params}, images, train=False)
    return (logits.argmax(-1) == labels).mean()


def _mean(*names: str) -> Callable[[], float]:
    """The mean over seeds of one way, or of the first less the second."""

    def measure() -> float:
        first, *rest = (study()[name] for name in names)
        return float(np.mean(first - sum(rest)))

    return measure


def _row(name: str, *ways: str, expected: float = 0.0, **options: Any) -> Row:
    return Row(
        name,
        expected,
        _mean(*ways),
        relation="at least",
        unit="accuracy",
        recomputed=False,
        **options,
    )


CLAIM = Claim(
    statement="Layers transfer, the first ones best; train the head first, and more with more data",
    source="Yosinski et al. 2014; the course's rules of transfer, on digits",
    rows=(
        *(
            _row(
                f"first {cut} of 4 layers copied and frozen, 100 a class",
                f"frozen {cut}, 100",
                expected=0.2,
                note="guessing is 20%",
            )
            for cut in range(1, len(LAYERS))
        ),
        _row(
            "1 layer frozen over all 4, 100 a class",
            "frozen 1, 100",
            "frozen 4, 100",
            note="early layers are general, late ones specific",
        ),
        _row(
            "4 layers from the base task over 4 random ones, all frozen, 10 a class",
            "frozen 4, 10",
            "random, 10",
            expected=0.05,
            holds=False,
            note="five digits teach the last layers what does not help with the others",
        ),
        _row(
            "4 layers copied and trained further over scratch, 10 a class",
            "tuned 4, 10",
            "scratch, 10",
            holds=False,
            note="a base of five classes and 600 scans is no ImageNet",
        ),
        _row(
            "the same, 100 a class",
            "tuned 4, 100",
            "scratch, 100",
        ),
        _row(
            "3 of 4 layers frozen over none, 2 a class",
            "frozen 3, 2",
            "tuned 4, 2",
            holds=False,
            note="little data, few layers: not where the late layers are specific",
        ),
        _row(
            "no layer frozen over 3 of 4, 100 a class",
            "tuned 4, 100",
            "frozen 3, 100",
            note="more data: more layers",
        ),
        _row(
            "head first, then everything at a tenth, over everything at once, 10 a class",
            "recipe, 10",
            "early, 10",
            holds=False,
            note="a new head's gradients destroy features: these are not worth keeping",
        ),
        _row(
            "the same with everything at once at a tenth, 10 a class",
            "recipe, 10",
            "early, slowly, 10",
            holds=False,
            note="as above",
        ),
        _row(
            "the same at the head's rate, 2 a class",
            "recipe, 2",
            "early, 2",
            holds=False,
            note="as above",
        ),
        _row(
            "10 a class over 2, by the recipe",
            "recipe, 10",
            "recipe, 2",
            expected=0.1,
            note="a few examples are not enough",
        ),
        _row(
            "100 a class over 10, by the recipe",
            "recipe, 100",
            "recipe, 10",
            expected=0.02,
        ),
    ),
)
