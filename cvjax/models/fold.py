"""Batch normalisation folded into the layer before it: the same outputs, no normalisation left.

In evaluation y = scale (Wx - mean) / sqrt(var + epsilon) + bias is linear in x, so the layer alone
can compute it, with kernel W scale / sqrt(var + epsilon) and a bias (Jacob et al. 2017,
https://arxiv.org/abs/1712.05877, section 3.2).

    folded = fold_batch_norms(model, variables, image)
    logits, features = folded.apply(folded.variables, image, train=False)
    task = dataclasses.replace(task, model=folded)  # whose `predict` takes folded.variables
"""

import copy
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array

from cvjax.nn.batch_renorm import BatchRenorm
from cvjax.nn.norm import BatchNorm

# Layers whose last kernel axis is the output's, and norms that evaluation does by statistics.
_LINEAR = (nn.Conv, nn.Dense)
_NORMS = (BatchNorm, BatchRenorm, nn.BatchNorm)


@dataclass(frozen=True)
class FoldedModel:
    """A model without the folded norms, for evaluation only; it is applied as the model is.

    Attributes:
        variables: of the folded model: norms that are gone have neither parameters nor statistics,
            and the layers before them have a bias.
        folded: path of each norm that is gone -> path of the layer that does its work.
        kept: paths of batch norms that stay, because what they normalise is not the output of one
            convolution or dense layer, or goes elsewhere too, or either is called twice.
    """

    model: nn.Module
    variables: Mapping[str, Any] = field(repr=False)
    folded: Mapping[str, str]
    kept: tuple[str, ...]

    @property
    def num_classes(self) -> int | None:
        return self.model.num_classes

    def apply(
        self,
        variables: Mapping[str, Any],
        image: Array,
        *,
        train: bool,
        rngs: Mapping[str, Array] | None = None,
    ) -> tuple[Array | None, dict[str, Array]]:
        """(logits, features), as the model's own.

        Raises:
            ValueError: with `train=True`, because what the batch would be normalised by is gone.
        """
        if train:
            raise ValueError("a folded model has no batch statistics left: train the one it is of")
        layers = set(self.folded.values())

        def intercept(next_method: Any, args: Any, kwargs: Any, context: Any) -> Any:
            module = context.module
            if context.method_name != "__call__" or module.scope is None:
                return next_method(*args, **kwargs)
            path = "/".join(module.path)
            if path in self.folded:
                return args[0]
            y = next_method(*args, **kwargs)
            if path in layers and not module.use_bias:
                bias = module.get_variable("params", "bias").astype(y.dtype)
                y = y + bias.reshape((1,) * (y.ndim - 1) + (-1,))
            return y

        with nn.intercept_methods(intercept):
            return self.model.apply(variables, image, train=False, rngs=rngs)


def fold_batch_norms(model: nn.Module, variables: Mapping[str, Any], image: Array) -> FoldedModel:
    """`model` with every batch norm that follows a convolution or dense layer merged into it.

    `image` is a batch such as the model takes; only its shape and type matter. Which norm follows
    which layer is read off the traced program, so any model will do. Computed in float64, stored
    in the parameters' own type.

    Raises:
        ValueError: if no batch norm can be folded.
    """
    pairs, norms = _norms_after_layers(model, variables, image)
    kept = tuple(path for path in norms if path not in pairs)
    if not pairs:
        found = f"its batch norms {list(kept)} follow no layer" if kept else "it has no batch norm"
        raise ValueError(f"{type(model).__name__}: nothing can be folded, {found}.")
    tree = jax.tree.map(lambda leaf: leaf, copy.copy(dict(variables)))  # new dicts, same arrays
    for norm, (layer, epsilon) in pairs.items():
        affine = _subtree(tree["params"], norm)
        running = _subtree(tree["batch_stats"], norm)
        gain = 1 / np.sqrt(np.asarray(running["var"], np.float64) + epsilon)
        if "scale" in affine:
            gain = gain * np.asarray(affine["scale"], np.float64)
        shift = -gain * np.asarray(running["mean"], np.float64)
        if "bias" in affine:
            shift = shift + np.asarray(affine["bias"], np.float64)
        weights = _subtree(tree["params"], layer)
        kernel = weights["kernel"]
        if "bias" in weights:
            shift = shift + gain * np.asarray(weights["bias"], np.float64)
        weights["kernel"] = jnp.asarray(np.asarray(kernel, np.float64) * gain, kernel.dtype)
        weights["bias"] = jnp.asarray(shift, kernel.dtype)
        _remove(tree["params"], norm)
        _remove(tree["batch_stats"], norm)
    if not tree["batch_stats"]:
        del tree["batch_stats"]
    folded = {norm: layer for norm, (layer, _) in pairs.items()}
    return FoldedModel(model, tree, folded, kept)


def _norms_after_layers(
    model: nn.Module, variables: Mapping[str, Any], image: Array
) -> tuple[dict[str, tuple[str, float]], list[str]]:
    """{norm: (layer, epsilon)} of all pairs that can be folded, and all batch norms."""
    outputs: dict[int, tuple[str, Any]] = {}  # the value itself is kept, or its id would be reused
    norms: list[tuple[str, int, float]] = []
    calls: Counter[str] = Counter()

    def watch(next_method: Any, args: Any, kwargs: Any, context: Any) -> Any:
        module = context.module
        if context.method_name != "__call__" or module.scope is None:
            return next_method(*args, **kwargs)
        path = "/".join(module.path)
        calls[path] += 1
        y = next_method(*args, **kwargs)
        if isinstance(module, _LINEAR):
            outputs[id(y)] = (path, y)
        elif isinstance(module, _NORMS):
            norms.append((path, id(args[0]), module.epsilon))
        return y

    def run(variables: Any, image: Any) -> Any:
        with nn.intercept_methods(watch):
            results = model.apply(variables, image, train=False)
        return results, [y for _, y in outputs.values()]

    jaxpr = jax.make_jaxpr(run)(variables, image).jaxpr
    # How often each layer's output is read, a result of the model counting as a reader. The
    # program ends in those outputs themselves, in the order of `outputs`.
    watched = jaxpr.outvars[len(jaxpr.outvars) - len(outputs) :]
    results = jaxpr.outvars[: len(jaxpr.outvars) - len(outputs)]
    readers = Counter(id(v) for eqn in jaxpr.eqns for v in eqn.invars)
    readers.update(id(v) for v in results)
    alone = {key for key, var in zip(outputs, watched) if readers[id(var)] == 1}
    pairs = {}
    for norm, source, epsilon in norms:
        if source in alone and calls[norm] == calls[outputs[source][0]] == 1:
            pairs[norm] = (outputs[source][0], epsilon)
    return pairs, [path for path, _, _ in norms]


def _subtree(tree: Mapping[str, Any], path: str) -> Any:
    """The node at `path`; {} for a norm that has no parameters."""
    for part in path.split("/"):
        tree = tree.get(part, {})
    return tree


def _remove(tree: dict[str, Any], path: str) -> None:
    """Takes the node at `path` out, and those around it that are empty then."""
    first, _, rest = path.partition("/")
    if first not in tree:
        return
    if rest:
        _remove(tree[first], rest)
    if not rest or not tree[first]:
        del tree[first]
