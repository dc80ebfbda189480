"""Affine maps of the picture plane as 3x3 matrices.

A matrix maps a point of the input picture to its place in the output picture: [x', y', 1] =
matrix @ [x, y, 1]. x grows to the right and y downwards, in pixels, and pixel (row i, column j)
covers the square [j, j + 1) x [i, i + 1), so its centre is (j + 0.5, i + 0.5) and the centre of
the picture is (width / 2, height / 2): the coordinates of boxes, which move by the same matrix.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Matrix = Float[Array, "3 3"]
Scalar = Float[Array, ""] | float | int


def identity() -> Matrix:
    """The matrix that moves nothing."""
    return jnp.eye(3, dtype=jnp.float32)


def translation_matrix(x: Scalar, y: Scalar) -> Matrix:
    """The matrix that moves everything `x` pixels to the right and `y` pixels down."""
    return _affine(1.0, 0.0, x, 0.0, 1.0, y)


def rotation_matrix(angle: Scalar) -> Matrix:
    """The matrix that turns about the point (0, 0) by `angle` radians.

    Counter-clockwise as displayed, that is with y pointing down.
    """
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return _affine(cos, sin, 0.0, -sin, cos, 0.0)


def scale_matrix(x: Scalar, y: Scalar) -> Matrix:
    """The matrix that stretches `x` times horizontally and `y` times vertically from (0, 0)."""
    return _affine(x, 0.0, 0.0, 0.0, y, 0.0)


def shear_matrix(x: Scalar, y: Scalar = 0.0) -> Matrix:
    """The matrix that moves a point (a, b) to (a + x b, y a + b)."""
    return _affine(1.0, x, 0.0, y, 1.0, 0.0)


def horizontal_flip_matrix(width: int) -> Matrix:
    """The matrix that mirrors left and right of a picture `width` pixels wide."""
    return _affine(-1.0, 0.0, width, 0.0, 1.0, 0.0)


def vertical_flip_matrix(height: int) -> Matrix:
    """The matrix that mirrors top and bottom of a picture `height` pixels high."""
    return _affine(1.0, 0.0, 0.0, 0.0, -1.0, height)


def crop_matrix(
    left: Scalar, top: Scalar, width: Scalar, height: Scalar, *, shape: tuple[int, int]
) -> Matrix:
    """The matrix that maps a window of the picture onto a whole picture of `shape` (h, w).

    The window covers [left, left + width) x [top, top + height) in pixels.
    """
    scale = scale_matrix(shape[1] / width, shape[0] / height)
    return compose(translation_matrix(-left, -top), scale)


def compose(*matrices: Matrix) -> Matrix:
    """The one matrix that acts as `matrices` one after another, the first one first."""
    product = identity()
    for matrix in matrices:
        # Highest: an accelerator's reduced-precision product moves pixels of a large picture.
        product = jnp.matmul(matrix, product, precision=jax.lax.Precision.HIGHEST)
    return product


def about_center(matrix: Matrix, shape: tuple[int, int]) -> Matrix:
    """`matrix` acting about the centre of a picture of `shape` (h, w) instead of about (0, 0)."""
    height, width = shape
    x, y = width / 2, height / 2
    return compose(translation_matrix(-x, -y), matrix, translation_matrix(x, y))


def invert(matrix: Matrix) -> Matrix:
    """The affine inverse, in closed form: exact for flips and whole-pixel shifts.

    A matrix without an inverse gives infinities.
    """
    a, b, x = matrix[0, 0], matrix[0, 1], matrix[0, 2]
    c, d, y = matrix[1, 0], matrix[1, 1], matrix[1, 2]
    det = a * d - b * c
    return _affine(
        d / det, -b / det, (b * y - d * x) / det, -c / det, a / det, (c * x - a * y) / det
    )


def transform_points(points: Float[Array, "n 2"], matrix: Matrix) -> Float[Array, "n 2"]:
    """Where `matrix` moves `points`, each an (x, y) in pixels."""
    linear = jnp.matmul(points, matrix[:2, :2].T, precision=jax.lax.Precision.HIGHEST)
    return linear + matrix[None, :2, 2]


def transform_boxes(boxes: Float[Array, "n 4"], matrix: Matrix) -> Float[Array, "n 4"]:
    """The smallest upright boxes around the moved `boxes`, xyxy in pixels, half-open.

    Not clipped to the picture. Turned or sheared, such a box is looser than its object.
    """
    x1, y1, x2, y2 = boxes.T
    corners = jnp.stack([x1, y1, x2, y1, x2, y2, x1, y2], axis=-1).reshape(-1, 2)
    moved = transform_points(corners, matrix).reshape(-1, 4, 2)
    return jnp.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=-1)


def _affine(a: Scalar, b: Scalar, x: Scalar, c: Scalar, d: Scalar, y: Scalar) -> Matrix:
    entries = [a, b, x, c, d, y, 0.0, 0.0, 1.0]
    return jnp.stack([jnp.asarray(entry, jnp.float32) for entry in entries]).reshape(3, 3)
