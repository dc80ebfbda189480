"""How near one picture is to another: PSNR, and SSIM (Wang et al. 2004, "Image quality assessment:
from error visibility to structural similarity")."""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

_SIGMA, _RADIUS = 1.5, 5  # of SSIM's Gaussian window, 11x11
_C1, _C2 = 0.01**2, 0.03**2


def psnr(image: Float[Array, "b h w c"], target: Float[Array, "b h w c"]) -> Float[Array, " b"]:
    """Peak signal-to-noise ratio in dB, of pictures in [0, 1]; infinite where they are equal."""
    return -10 * jnp.log10(jnp.square(image - target).mean(axis=(1, 2, 3)))


def ssim(image: Float[Array, "b h w c"], target: Float[Array, "b h w c"]) -> Float[Array, " b"]:
    """Mean structural similarity of pictures in [0, 1]: at most 1, which only equal ones reach.

    Gaussian window of 11x11 with sigma 1.5, biased variances, constants (0.01)² and (0.03)², over
    all places where the window fits and over channels: scikit-image's `structural_similarity` with
    `gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1`.

    Raises:
        ValueError: for pictures of less than 11 pixels a side.
    """
    if min(image.shape[1:3]) < 2 * _RADIUS + 1:
        raise ValueError(
            f"ssim: pictures of {image.shape[1]}x{image.shape[2]} pixels; its window needs "
            f"{2 * _RADIUS + 1} a side."
        )
    image, target = image.astype(jnp.float32), target.astype(jnp.float32)
    # Of centred values: the difference of two large moments loses the digits that matter.
    a, b = image - 0.5, target - 0.5
    mean_a, mean_b = _blurred(a), _blurred(b)
    var_a, var_b = _blurred(a * a) - mean_a**2, _blurred(b * b) - mean_b**2
    covariance = _blurred(a * b) - mean_a * mean_b
    mean_a, mean_b = mean_a + 0.5, mean_b + 0.5
    light = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    structure = (2 * covariance + _C2) / (var_a + var_b + _C2)
    return (light * structure).mean(axis=(1, 2, 3))


def _blurred(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Gaussian means where the window fits."""
    along = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / _SIGMA) ** 2)
    along = (along / along.sum()).astype(np.float32)
    window = 2 * _RADIUS + 1
    for axis in (1, 2):
        size = x.shape[axis] - window + 1
        parts = [lax.slice_in_dim(x, i, i + size, axis=axis) for i in range(window)]
        x = sum(weight * part for weight, part in zip(along, parts))
    return x
