"""Everything that happens to a batch of pictures on the device, between the host and the model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from cvjax.image.normalize import normalize, to_float

Batch = dict[str, Any]
AUGMENTATIONS = ("horizontal_flip",)


def train_transform(
    augment: Mapping[str, Mapping[str, Any]],
    *,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
) -> Callable[[Key[Array, ""], Batch], Batch]:
    """The function `(key, batch) -> batch` that training applies to every batch.

    `batch["image"]` uint8 [B,H,W,C] becomes float32 in [0, 1], is augmented, then normalised.
    Example i is drawn with `fold_in(key, i)`, i its place in the global batch, so the
    result is the same on one device and on many.
    """
    unknown = [name for name in augment if name not in AUGMENTATIONS]
    if unknown:
        raise ValueError(f"augment: unknown {unknown}. Known: {list(AUGMENTATIONS)}.")

    def transform(key: Key[Array, ""], batch: Batch) -> Batch:
        image = to_float(jnp.asarray(batch["image"]))
        if "horizontal_flip" in augment:
            p = dict(augment["horizontal_flip"]).get("p", 0.5)
            keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(image.shape[0]))
            flipped = jax.vmap(lambda k: jax.random.bernoulli(k, p))(keys)
            image = jnp.where(flipped[:, None, None, None], image[:, :, ::-1], image)
        return {**batch, "image": _normalize(image, mean, std)}

    return transform


def eval_transform(
    *,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
) -> Callable[[Batch], Batch]:
    """The function `batch -> batch` that evaluation applies: to [0, 1] and normalised."""
    return lambda batch: {
        **batch,
        "image": _normalize(to_float(jnp.asarray(batch["image"])), mean, std),
    }


def _normalize(image, mean, std):
    return normalize(image, mean=0.0 if mean is None else mean, std=1.0 if std is None else std)
