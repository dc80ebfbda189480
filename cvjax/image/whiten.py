"""Preprocessing learnt from the training images: the mean image taken away, PCA and ZCA whitening.

The mean image is Krizhevsky et al. 2012's; means and deviations of channels (Simonyan and Zisserman
2014, He et al. 2015) are `cvjax.image.normalize`. Whitening: Krizhevsky 2009, "Learning Multiple
Layers of Features from Tiny Images", appendix A.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

KINDS = ("mean_image", "per_pixel", "pca", "zca")
# Values of an image: the covariance of more takes minutes and gigabytes.
MAX_VALUES = 4096


@dataclass(frozen=True)
class Whitening:
    """x -> (x - mean) matrix for flattened images x; without a matrix (x - mean) * scale.

    Attributes:
        mean: [H, W, C].
        scale: [H, W, C] or one number.
        matrix: [D, D] for D = H W C, or None.
    """

    mean: Float[np.ndarray, "h w c"]
    scale: Float[np.ndarray, "h w c"] | float = 1.0
    matrix: Float[np.ndarray, "d d"] | None = None

    def __call__(self, image: Float[Array, "*b h w c"]) -> Float[Array, "*b h w c"]:
        """Images of the shape that it was learnt from.

        After PCA the axes are components, by falling variance: no picture any more, and nothing
        for a convolution.

        Raises:
            ValueError: for images of another shape.
        """
        if image.shape[-3:] != self.mean.shape:
            raise ValueError(
                f"images of shape {image.shape[-3:]}, but the preprocessing was learnt from "
                f"{self.mean.shape}."
            )
        axes = (1,) * (image.ndim - 3)
        centred = image - self.mean.reshape(axes + self.mean.shape)
        if self.matrix is None:
            scale = np.broadcast_to(np.asarray(self.scale, np.float32), self.mean.shape)
            return centred * scale.reshape(axes + self.mean.shape)
        rows = centred.reshape(-1, self.matrix.shape[0])
        whitened = jnp.matmul(rows, self.matrix, precision=jax.lax.Precision.HIGHEST)
        return whitened.reshape(image.shape)


def fit_whitening(
    images: Float[np.ndarray, "n h w c"], kind: str, *, epsilon: float = 1e-5
) -> Whitening:
    """What `images` (in [0, 1], of the training split alone) teach.

    "mean_image" subtracts their mean; "per_pixel" divides by each value's deviation besides; "pca"
    turns to the principal components and gives each the variance 1; "zca" turns back, so that the
    result is the whitened image nearest to the image. Variances are over n - 1.

    Args:
        epsilon: is added to every variance: what is below is noise. With fewer images than
            values some variances are 0, and without an epsilon there is no whitening.

    Raises:
        ValueError: if the kind is unknown, there are fewer than two images, an image has more
            than MAX_VALUES values (pca, zca), or epsilon is negative, or too small for the images.
    """
    count, *shape = images.shape
    size = int(np.prod(shape))
    problems = []
    if kind not in KINDS:
        problems.append(f"there is no {kind!r}; one of {KINDS}")
    if count < 2:
        problems.append(f"{count} image is too few")
    if epsilon < 0:
        problems.append(f"epsilon={epsilon} is negative")
    if kind in ("pca", "zca") and size > MAX_VALUES:
        problems.append(
            f"images of {shape} have {size} values; up to {MAX_VALUES} can be whitened: "
            "use smaller images, or 'mean_image'"
        )
    if problems:
        raise ValueError("whitening: " + "; ".join(problems) + ".")
    rows = np.asarray(images, np.float64).reshape(count, -1)
    mean = rows.mean(axis=0)
    centre = mean.reshape(shape).astype(np.float32)
    if kind == "mean_image":
        return Whitening(centre)
    centred = rows - mean
    if kind == "per_pixel":
        variances = (centred**2).sum(axis=0) / (count - 1)
        scale = _inverse_roots(variances, epsilon).reshape(shape)
        return Whitening(centre, scale=scale.astype(np.float32))
    variances, components = np.linalg.eigh(centred.T @ centred / (count - 1))
    variances, components = np.maximum(variances[::-1], 0), components[:, ::-1]
    matrix = components * _inverse_roots(variances, epsilon)
    if kind == "zca":
        matrix = matrix @ components.T
    return Whitening(centre, matrix=matrix.astype(np.float32))


def _inverse_roots(variances: np.ndarray, epsilon: float) -> np.ndarray:
    raised = variances + epsilon
    if (raised < 1e-12).any():
        raise ValueError(
            f"whitening: {int((raised < 1e-12).sum())} of {len(raised)} variances are 0 with "
            f"epsilon={epsilon}; give a greater epsilon, such as 1e-3."
        )
    return 1 / np.sqrt(raised)
