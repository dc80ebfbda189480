"""Local response normalisation: a channel is damped where its neighbours are active.

Krizhevsky et al. 2012, "ImageNet classification with deep convolutional neural networks", eq. in
section 3.3.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def local_response_norm(
    x: Float[Array, "*b c"],
    *,
    size: int = 5,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 2.0,
    average: bool = False,
) -> Float[Array, "*b c"]:
    """x / (k + alpha S)^beta, S the sum of squares of the `size` channels around each.

    The defaults are the paper's. `average`: alpha is divided by `size`, as in PyTorch and Caffe
    (whose k is 1). Channels beyond the ends count as 0; of an even `size` one more lies below.
    Computed in float32.

    Raises:
        ValueError: if `size` is less than 1.
    """
    if size < 1:
        raise ValueError(f"local_response_norm reads {size} channels; it needs at least 1")
    wide = x.astype(jnp.float32)
    below, above = size // 2, (size - 1) // 2
    squares = jnp.pad(jnp.square(wide), [(0, 0)] * (x.ndim - 1) + [(below, above)])
    channels = x.shape[-1]
    total = sum(lax.slice_in_dim(squares, i, i + channels, axis=-1) for i in range(size))
    scale = alpha / size if average else alpha
    return (wide * (k + scale * total) ** -beta).astype(x.dtype)
