"""Memory for time: inner maps computed again instead of kept (Chen et al. 2016,
https://arxiv.org/abs/1604.06174).
"""

from flax import linen as nn
from jaxtyping import Array


def apply_block(block: nn.Module, x: Array, *, train: bool, remat: bool) -> Array:
    """`block(x, train=train)`; with `remat`, the backward pass computes its inner maps again."""
    if not remat:
        return block(x, train=train)
    return nn.remat(lambda block, x: block(x, train=train))(block, x)
