"""Colour: brightness, contrast, saturation, hue, shifts of the channels and along their axes.

Images are [H,W,C] in [0, 1], grey (C = 1) or RGB (C = 3); results are clipped to [0, 1].
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from cvjax.image.options import Interval, Number, check_interval, check_number, check_symmetric

Image = Float[Array, "h w c"]
Amount = Float[Array, ""] | float | int

# Shares of red, green and blue in brightness (ITU-R BT.601), as in Pillow and torchvision.
LUMA = (0.299, 0.587, 0.114)

# Principal components of ImageNet's RGB values in [0, 1], as distributed with Torch's ResNet
# recipe (fb.resnet.torch) and used since wherever AlexNet's colour augmentation is.
IMAGENET_EIGENVALUES = (0.2175, 0.0188, 0.0045)
IMAGENET_EIGENVECTORS = (  # one column a component, one row a channel
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)


def color_jitter(
    key: Key[Array, ""],
    image: Image,
    *,
    brightness: Interval = 0.0,
    contrast: Interval = 0.0,
    saturation: Interval = 0.0,
    hue: Interval = 0.0,
) -> Image:
    """`image` with brightness, contrast, saturation and hue changed at random, in this order.

    A number b stands for factors from U(max(0, 1 - b), 1 + b), a pair for factors from U(pair).
    `hue` is in turns of the colour circle: a number h <= 0.5 means U(-h, h). Saturation and
    hue leave grey images as they are.

    Differs from torchvision's ColorJitter: the order is fixed there by chance, here always.
    """
    limits = [
        _factors("brightness", brightness),
        _factors("contrast", contrast),
        _factors("saturation", saturation),
        check_symmetric("hue", hue, limit=0.5),
    ]
    low, high = (jnp.asarray(bound) for bound in zip(*limits))
    b, c, s, h = jax.random.uniform(key, (4,), minval=low, maxval=high)
    if limits[0] != (1.0, 1.0):
        image = adjust_brightness(image, b)
    if limits[1] != (1.0, 1.0):
        image = adjust_contrast(image, c)
    if limits[2] != (1.0, 1.0):
        image = adjust_saturation(image, s)
    if limits[3] != (0.0, 0.0):
        image = adjust_hue(image, h)
    return image


def color_shift(key: Key[Array, ""], image: Image, *, max_shift: Number = 0.1) -> Image:
    """`image` with each channel moved by its own constant from U(-max_shift, max_shift).

    The colour casts of Wu et al. 2015 (https://arxiv.org/abs/1501.02876).
    """
    limit = check_number("max_shift", max_shift, low=0.0, high=1.0)
    shift = jax.random.uniform(key, (1, 1, image.shape[-1]), minval=-limit, maxval=limit)
    return jnp.clip(image + shift, 0.0, 1.0)


def pca_color(
    key: Key[Array, ""],
    image: Float[Array, "h w 3"],
    *,
    std: Number = 0.1,
    eigenvalues: Sequence[Number] = IMAGENET_EIGENVALUES,
    eigenvectors: Sequence[Sequence[Number]] = IMAGENET_EIGENVECTORS,
) -> Float[Array, "h w 3"]:
    """`image` shifted along the principal axes of natural colour.

    Every pixel moves by `eigenvectors @ (alpha * eigenvalues)` with alpha from N(0, std^2), drawn
    once an image (Krizhevsky et al. 2012, section 4.1). `color_components` gives the
    components of another data set.
    """
    std = check_number("std", std, low=0.0)
    values = np.asarray(eigenvalues, np.float32)
    vectors = np.asarray(eigenvectors, np.float32)
    if image.shape[-1] != 3 or values.shape != (3,) or vectors.shape != (3, 3):
        raise ValueError(
            "pca_color needs RGB images, 3 eigenvalues and 3x3 eigenvectors; got "
            f"{image.shape[-1]} channels, shapes {values.shape} and {vectors.shape}."
        )
    alpha = std * jax.random.normal(key, (3,))
    shift = jnp.matmul(vectors, alpha * values, precision=jax.lax.Precision.HIGHEST)
    return jnp.clip(image + shift[None, None, :], 0.0, 1.0)


def color_components(
    images: Float[Array, "n h w 3"],
) -> tuple[Float[Array, "3"], Float[Array, "3 3"]]:
    """Eigenvalues, falling, and eigenvectors (columns) of the covariance of all pixels' RGB."""
    pixels = images.reshape(-1, 3)
    pixels = pixels - pixels.mean(axis=0, keepdims=True)
    covariance = jnp.matmul(pixels.T, pixels, precision=jax.lax.Precision.HIGHEST) / len(pixels)
    values, vectors = jnp.linalg.eigh(covariance)
    return values[::-1], vectors[:, ::-1]


def adjust_brightness(image: Image, factor: Amount) -> Image:
    """`factor * image`: 0 is black, 1 changes nothing."""
    return jnp.clip(image * factor, 0.0, 1.0)


def adjust_contrast(image: Image, factor: Amount) -> Image:
    """`image` spread by `factor` about its mean luma: 0 is flat grey, 1 changes nothing."""
    height, width, channels = image.shape
    # Weighted and summed in one go: a third of the time of the mean of `luma`.
    mean = (image * _luma_weights(channels)).sum(keepdims=True) / (height * width)
    return _blend(mean, image, factor)


def adjust_saturation(image: Image, factor: Amount) -> Image:
    """`image` spread by `factor` about its grey version: 0 is grey, 1 changes nothing."""
    if image.shape[-1] == 1:
        return image
    return _blend(luma(image), image, factor)


def adjust_hue(image: Image, turns: Amount) -> Image:
    """`image` with every hue advanced by `turns` of the colour circle (1/3: red to green).

    Saturation and value (in HSV, `colorsys`'s convention) stay as they are.
    """
    if image.shape[-1] == 1:
        return image
    red, green, blue = _channels(image)
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    # 1 where the quotient is multiplied by a chroma of 0 below, so that gradients stay finite.
    width = jnp.where(chroma > 0, chroma, 1.0)
    sector = jnp.where(
        red == value,
        (green - blue) / width,
        jnp.where(green == value, 2.0 + (blue - red) / width, 4.0 + (red - green) / width),
    )
    sector = sector + 6.0 * turns

    def channel(offset: float) -> Float[Array, "h w"]:
        # Each channel falls from `value` by `chroma` as the hue leaves its third of the circle.
        place = sector + offset
        place = place - 6.0 * jnp.floor(place / 6.0)
        return value - chroma * jnp.clip(jnp.minimum(place, 4.0 - place), 0.0, 1.0)

    return jnp.stack([channel(5.0), channel(3.0), channel(1.0)], axis=-1)


def luma(image: Image) -> Float[Array, "h w 1"]:
    """The brightness that Rec. 601 gives each pixel; a grey image as it is."""
    if image.shape[-1] == 1:
        return image
    red, green, blue = _channels(image)  # a sum over the last axis is far slower in XLA on a CPU
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue)[..., None]


def _luma_weights(channels: int) -> Float[np.ndarray, "1 1 c"]:
    weights = {1: (1.0,), 3: LUMA}.get(channels)
    if weights is None:
        raise ValueError(f"Colour needs 1 or 3 channels, got {channels}.")
    return np.asarray(weights, np.float32).reshape(1, 1, channels)


def _channels(image: Image) -> tuple[Array, Array, Array]:
    if image.shape[-1] != 3:
        raise ValueError(f"Colour needs 1 or 3 channels, got {image.shape[-1]}.")
    return image[..., 0], image[..., 1], image[..., 2]


def _blend(start: Float[Array, "_ _ _"], image: Image, factor: Amount) -> Image:
    """From `start` at factor 0 through `image` at 1 and beyond, clipped to [0, 1]."""
    return jnp.clip(start + (image - start) * factor, 0.0, 1.0)


def _factors(name: str, value: Interval) -> tuple[float, float]:
    if isinstance(value, Number):
        amount = check_number(name, value, low=0.0)
        return max(0.0, 1.0 - amount), 1.0 + amount
    return check_interval(name, value, low=0.0)
