"""What a model costs and sees, from shapes alone: nothing is compiled or computed."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from cvjax import models
from cvjax.models import cost, published
from cvjax.models.reach import image_spans, middle, reach
from cvjax.ops.conv import ReceptiveField

# Maps of fewer pixels than this tell little of what their units see.
_REACH_SIZE = 192


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """Costs of one image through a model, and what is published of it.

    Attributes:
        parameters: how many numbers are learned; BatchNorm's statistics are not.
        multiply_adds: of convolutions and matrix products, attention's products included. Biases,
            normalisation, activations, pooling and resizing are not counted.
        activations: how many numbers the convolutions and matrix products put out, attention
            scores included. A lower bound of what a training step keeps for its backward pass:
            inputs, outputs of normalisation and of activation functions come on top, as the
            compiler sees fit.
        activation_bytes: the same in float32.
        layers: the convolutions and matrix products behind these figures, in order.
        receptive_fields: for each map of `features`, what its middle unit sees of the image, as if
            the image went on beyond its border: `size` pixels along the longer axis (the nets
            here are symmetric but for a few rectangular windows), neighbours `jump` pixels apart,
            the first unit's region starting at `start`. None is the whole image: squeeze-and-
            excitation, attention over all tokens and other global operations come before.
        top1: published ImageNet accuracy in percent with its `top1_source`; None is unknown.
    """

    name: str
    image_size: int
    channels: int
    num_classes: int | None
    parameters: int
    multiply_adds: int
    activations: int
    layers: tuple[cost.Layer, ...] = dataclasses.field(repr=False)
    receptive_fields: Mapping[str, ReceptiveField | None]
    paper: published.Paper | None
    top1: float | None
    top1_source: str

    @property
    def activation_bytes(self) -> int:
        return 4 * self.activations


def info(
    name: str,
    image_size: int | None = None,
    num_classes: int | None = 1000,
    *,
    channels: int | None = None,
    **fields: Any,
) -> ModelInfo:
    """Parameters, multiply-adds, activations, receptive fields and publication of a classifier.

    `image_size` and `channels` default to what the model was published for
    (cvjax/models/published.py). Other fields go to `create`.

    Raises:
        ValueError: if no classifier has that name, or such an image does not fit it.
    """
    if any(name in models.list_models(kind=kind) for kind in ("detectors", "generators")):
        raise ValueError(f"{name} is no classifier, which this is about.")
    model = models.create(name, num_classes=num_classes, **fields)
    home = published.made_for(name)
    fixed = getattr(model, "image_size", None)
    size = image_size or fixed or home.image_size
    channels = channels or home.channels
    shape = (1, size, size, channels)
    variables, closed, features = trace(model, shape)
    layers = tuple(cost.layers(closed.jaxpr))
    seen_shape = shape
    if size < _REACH_SIZE and not fixed:
        seen_shape = (1, _REACH_SIZE, _REACH_SIZE, channels)
        seen_variables, closed, features = trace(model, seen_shape)
    else:
        seen_variables = variables
    inputs = [None] * len(jax.tree.leaves(seen_variables))
    seen = reach(closed.jaxpr, [*inputs, image_spans(seen_shape)])
    found = published.result(name)
    return ModelInfo(
        name=name,
        image_size=size,
        channels=channels,
        num_classes=num_classes,
        parameters=sum(math.prod(x.shape) for x in jax.tree.leaves(variables.get("params", {}))),
        multiply_adds=sum(layer.multiply_adds for layer in layers),
        activations=sum(layer.activations for layer in layers),
        layers=layers,
        receptive_fields=_receptive_fields(features, seen),
        paper=published.paper(name),
        top1=found and found.top1,
        top1_source=found.source if found else "unknown",
    )


@functools.lru_cache(maxsize=8)
def trace(model: Any, shape: tuple[int, ...]) -> tuple[Any, Any, Any]:
    """(variables, program, features) of `model` on images of `shape`, in evaluation, as shapes."""
    image = jax.ShapeDtypeStruct(shape, jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image)

    def forward(variables: Any, image: jax.Array) -> tuple[Any, Any]:
        logits, features = model.apply(variables, image, train=False)
        return features, logits

    closed, (features, _) = jax.make_jaxpr(forward, return_shape=True)(variables, image)
    return variables, closed, features


def _receptive_fields(features: Mapping[str, Any], seen: list[Any]) -> dict[str, Any]:
    fields = {}
    # The program's results are the features, sorted by name, then the logits.
    for name, spans in zip(sorted(features), seen):
        if features[name].ndim != 4:
            continue
        ends = spans and [middle(span, axis) for span, axis in zip(spans, (1, 2))]
        if not ends or None in ends:
            fields[name] = None
            continue
        jump = int(name.removeprefix("stride"))
        low, high = max(ends, key=lambda end: end[1] - end[0])
        index = features[name].shape[1] // 2
        fields[name] = ReceptiveField(high - low + 1, jump, low - index * jump)
    return dict(sorted(fields.items(), key=lambda item: int(item[0].removeprefix("stride"))))
