"""YOLO's grid: objects as numbers of the cell that holds their centre, and back.

A cell (and, with anchors, each anchor of it) holds (p_c, b_x, b_y, b_w, b_h, c_1 ... c_k): whether
there is an object, its centre from the cell's upper left corner and its size, both in cells, so
that b_x and b_y are below 1 and b_w and b_h may be above, and the class as one-hot.
Differs from the papers: p_c comes first. Anchors are (width, height) in pixels of the image,
`image` and `grid` are shapes (h, w). One image: vmap over a batch.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from cvjax.ops.box_coding import MAX_LOG_SCALE
from cvjax.ops.boxes import cxcywh_to_xyxy, iou, xyxy_to_cxcywh

Shape = tuple[int, int]


def encode_grid(
    boxes: Float[Array, "n 4"],
    labels: Int[Array, " n"],
    valid: Bool[Array, " n"],
    *,
    image: Shape,
    grid: Shape,
    num_classes: int,
    anchors: Float[Array, "a 2"] | None = None,
) -> Float[Array, "rows columns a 5+{num_classes}"]:
    """The target of every cell: zeros where p_c is 0. Without anchors a cell has one place.

    An object goes to the cell of its centre and to the anchor whose shape overlaps its own most
    (the first of equals). Where two objects fall on one place, the first of the input has it.
    Objects that are not `valid`, or have their centre outside of the image, have no cell.
    Redmon et al. 2016, https://arxiv.org/abs/1506.02640, section 2; with anchors Redmon and
    Farhadi 2017, https://arxiv.org/abs/1612.08242.
    """
    n, (rows, columns) = boxes.shape[0], grid
    places = 1 if anchors is None else anchors.shape[0]
    if n == 0:
        return jnp.zeros((rows, columns, places, 5 + num_classes))
    cells = xyxy_to_cxcywh(boxes) * _cells_per_pixel(image, grid)[None]
    corner = jnp.floor(cells[:, :2])
    column, row = corner.astype(jnp.int32).T
    valid = valid & (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    if anchors is None:
        anchor = jnp.zeros(n, jnp.int32)
    else:
        size = xyxy_to_cxcywh(boxes)[:, 2:]
        anchor = jnp.argmax(shape_iou(size, anchors), axis=1).astype(jnp.int32)

    # An index past the end is dropped.
    row = jnp.where(valid, row, rows)
    owner = jnp.full((rows, columns, places), n, jnp.int32)
    owner = owner.at[row, column, anchor].min(jnp.arange(n, dtype=jnp.int32), mode="drop")
    codes = jnp.concatenate(
        [
            jnp.ones((n, 1), cells.dtype),
            cells[:, :2] - corner,
            cells[:, 2:],
            jax.nn.one_hot(labels, num_classes, dtype=cells.dtype),
        ],
        axis=-1,
    )
    return jnp.concatenate([codes, jnp.zeros_like(codes[:1])])[owner]


def decode_grid(
    codes: Float[Array, "rows columns a d"], *, image: Shape
) -> tuple[Float[Array, "m 4"], Float[Array, "m d-5"]]:
    """Boxes in pixels and class scores p_c c_i, by rows, columns and places of a cell.

    The inverse of `encode_grid`; of a network's output, after `activate_anchors`.
    """
    rows, columns = codes.shape[:2]
    cells = codes[..., 1:5]
    x = jnp.arange(columns, dtype=cells.dtype)[None, :, None]
    y = jnp.arange(rows, dtype=cells.dtype)[:, None, None]
    cells = jnp.stack([cells[..., 0] + x, cells[..., 1] + y, cells[..., 2], cells[..., 3]], -1)
    boxes = cxcywh_to_xyxy(cells.reshape(-1, 4) / _cells_per_pixel(image, (rows, columns))[None])
    scores = codes[..., :1] * codes[..., 5:]
    return boxes, scores.reshape(boxes.shape[0], -1)


def activate_anchors(
    raw: Float[Array, "rows columns a d"],
    *,
    image: Shape,
    anchors: Float[Array, "a 2"],
    exclusive: bool,
) -> Float[Array, "rows columns a d"]:
    """What a head with anchors says, as codes of `decode_grid`.

    p_c, b_x and b_y are sigmoids, sizes are anchors times an exponential, whose argument is cut at
    `cvjax.ops.box_coding.MAX_LOG_SCALE` so that none overflows. Classes are a softmax if
    `exclusive` (YOLOv2), else a sigmoid each (YOLOv3).
    Redmon and Farhadi 2017, https://arxiv.org/abs/1612.08242, section 2.
    """
    raw = raw.astype(jnp.promote_types(raw.dtype, jnp.float32))
    size = anchors * _cells_per_pixel(image, raw.shape[:2])[None, :2]
    size = jnp.exp(jnp.minimum(raw[..., 3:5], MAX_LOG_SCALE)) * size[None, None]
    classes = (jax.nn.softmax if exclusive else jax.nn.sigmoid)(raw[..., 5:])
    return jnp.concatenate([jax.nn.sigmoid(raw[..., :3]), size, classes], axis=-1)


def split_v1(
    output: Float[Array, "rows columns c"], num_boxes: int
) -> tuple[Float[Array, "rows columns b 5"], Float[Array, "rows columns k"]]:
    """YOLOv1's output as `num_boxes` boxes (confidence, b_x, b_y, √w, √h) and class probabilities.

    A cell has its boxes first, then one set of classes: 7 x 7 x 30 for 2 boxes and 20 classes.
    w and h are shares of the image.

    Raises:
        ValueError: if no channel is left for the classes.
    """
    rows, columns, channels = output.shape
    if channels <= 5 * num_boxes:
        raise ValueError(
            f"split_v1: {num_boxes} boxes take {5 * num_boxes} of {channels} channels, which "
            "leaves none for the classes. The output needs 5 num_boxes + num_classes channels."
        )
    boxes = output[..., : 5 * num_boxes].reshape(rows, columns, num_boxes, 5)
    return boxes, output[..., 5 * num_boxes :]


def decode_v1(
    output: Float[Array, "rows columns c"], *, num_boxes: int, image: Shape
) -> tuple[Float[Array, "m 4"], Float[Array, "m k"]]:
    """Boxes in pixels and scores confidence x class probability of YOLOv1's output (`split_v1`)."""
    boxes, classes = split_v1(output, num_boxes)
    rows, columns = output.shape[:2]
    size = jnp.square(boxes[..., 3:]) * jnp.asarray([columns, rows], boxes.dtype).reshape(
        1, 1, 1, 2
    )
    classes = jnp.broadcast_to(classes[:, :, None], (*boxes.shape[:3], classes.shape[-1]))
    return decode_grid(jnp.concatenate([boxes[..., :3], size, classes], axis=-1), image=image)


def shape_iou(sizes: Float[Array, "n 2"], others: Float[Array, "m 2"]) -> Float[Array, "n m"]:
    """IoU of every pair of (width, height), laid with their corners on each other."""
    boxes, others = (jnp.concatenate([jnp.zeros_like(s), s], axis=-1) for s in (sizes, others))
    return iou(boxes[:, None], others[None])


def _cells_per_pixel(image: Shape, grid: Shape) -> Array:
    y, x = (g / i for g, i in zip(grid, image, strict=True))
    return jnp.asarray([x, y, x, y], jnp.float32)
