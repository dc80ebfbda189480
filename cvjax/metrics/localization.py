"""How well the place of one object is known."""

from typing import Any

import flax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from cvjax.metrics.classification import Mean, Valid


@flax.struct.dataclass
class PointError(Mean):
    """The mean distance of an object's points from the true ones, over its box's diagonal.

    Points that are not there (v = 0) and pictures without an object do not count.
    """

    @classmethod
    def from_model_output(
        cls,
        points: Float[Array, "b p 2"],
        target_points: Float[Array, "b p 3"],
        target_box: Float[Array, "b 4"],
        target_present: Bool[Array, " b"],
        valid: Valid = None,
        **_: Any,
    ) -> "PointError":
        distance = jnp.linalg.norm(points - target_points[..., :2], axis=-1)  # [B, P]
        there = target_points[..., 2] > 0
        diagonal = jnp.linalg.norm(target_box[:, 2:] - target_box[:, :2], axis=-1)
        mean = jnp.where(there, distance, 0.0).sum(axis=1) / jnp.maximum(there.sum(axis=1), 1)
        counts = target_present & there.any(axis=1)
        error = mean / jnp.where(counts, diagonal, 1.0)
        return super().from_model_output(error, counts if valid is None else counts & valid)
