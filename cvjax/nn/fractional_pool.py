"""Fractional max-pooling as a layer (Graham 2014, https://arxiv.org/abs/1412.6071)."""

import math

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.ops.fractional_pool import Regions, fractional_max_pool


class FractionalMaxPool(nn.Module):
    """`fractional_max_pool` of `x`: in training over new regions at every step (stream "dropout"),
    in evaluation over one set that stays the same. The paper also averages evaluations over
    several sets of regions.
    """

    ratio: float = math.sqrt(2)
    regions: Regions = "pseudorandom"
    overlapping: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 c"]:
        key = self.make_rng("dropout") if train else jax.random.key(0)
        return fractional_max_pool(
            key, x, ratio=self.ratio, regions=self.regions, overlapping=self.overlapping
        )
