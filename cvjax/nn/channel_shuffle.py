"""Channel shuffle (Zhang et al. 2017, https://arxiv.org/abs/1707.01083, fig. 1)."""

from jaxtyping import Array, Float


def channel_shuffle(x: Float[Array, "*b c"], *, groups: int) -> Float[Array, "*b c"]:
    """The channels of `groups` equal groups in turn: first of each, second of each, and so on.

    Raises:
        ValueError: if the groups do not divide the channels.
    """
    channels = x.shape[-1]
    if channels % groups:
        raise ValueError(f"{groups} groups do not divide {channels} channels")
    x = x.reshape(*x.shape[:-1], groups, channels // groups)
    return x.swapaxes(-1, -2).reshape(*x.shape[:-2], channels)
