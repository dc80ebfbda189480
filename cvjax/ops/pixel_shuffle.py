"""Channels to space: the sub-pixel convolution's second half (Shi et al. 2016,
https://arxiv.org/abs/1609.05158, equation 4)."""

from jaxtyping import Array, Float


def pixel_shuffle(x: Float[Array, "b h w d"], factor: int) -> Float[Array, "b h2 w2 c"]:
    """[B, H, W, C factor²] -> [B, factor H, factor W, C].

    Channel c factor² + i factor + j becomes channel c at row i, column j of each place's block, as
    PyTorch's PixelShuffle has it.

    Raises:
        ValueError: if the channels are no multiple of factor².
    """
    batch, height, width, depth = x.shape
    if depth % factor**2:
        raise ValueError(f"pixel_shuffle: {depth} channels are no multiple of {factor}² to spread.")
    x = x.reshape(batch, height, width, depth // factor**2, factor, factor)
    x = x.transpose(0, 1, 4, 2, 5, 3)  # [B, H, i, W, j, C]
    return x.reshape(batch, height * factor, width * factor, -1)
