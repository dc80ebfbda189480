"""Multi-head self-attention (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762)."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.dense import Dense
from cvjax.nn.initializers import SMALL_NORMAL
from cvjax.ops.attention import attention


class SelfAttention(nn.Module):
    """softmax(q k^T / sqrt(d / heads) + `bias`) v for every head, then a dense layer.

    Queries, keys and values come of one dense layer `qkv`, in this order and each of them head
    after head. The softmax is float32 whatever `dtype`. `attention_dropout` drops what the softmax
    gives, `dropout` the result (stream "dropout").

    Raises:
        ValueError: if `heads` does not divide the width.
    """

    heads: int
    dropout: float = 0.0
    attention_dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b t d"],
        *,
        train: bool,
        bias: Float[Array, "b_or_1 h t t"] | None = None,
    ) -> Float[Array, "b t d"]:
        batch, tokens, width = x.shape
        if width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {width}")
        dense = {"kernel_init": SMALL_NORMAL, "dtype": self.dtype}
        qkv = Dense(3 * width, name="qkv", **dense)(x)
        qkv = qkv.reshape(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = (qkv[:, :, i] for i in range(3))  # [B, T, H, D / H]
        drop = None
        if train and self.attention_dropout > 0:
            drop = nn.Dropout(self.attention_dropout, deterministic=False)
        y = attention(q, k, v, bias, drop)
        y = Dense(width, name="proj", **dense)(y.reshape(batch, tokens, width))
        return nn.Dropout(self.dropout, deterministic=not train)(y)
