"""Losses of boxes by their overlap: one value per box; masks and sums are the caller's.

All have a gradient also where the boxes do not touch, and finite ones for empty boxes; they ask
for boxes (x1, y1, x2, y2) in one unit, whichever it is. The arithmetic is `cvjax.ops.boxes`'.
"""

from jaxtyping import Array, Float

from cvjax.ops.boxes import ciou, diou, giou


def giou_loss(boxes: Float[Array, "*b 4"], targets: Float[Array, "*b 4"]) -> Float[Array, "*b"]:
    """1 - GIoU, in [0, 2]. Rezatofighi et al. 2019, https://arxiv.org/abs/1902.09630."""
    return 1 - giou(boxes, targets)


def diou_loss(boxes: Float[Array, "*b 4"], targets: Float[Array, "*b 4"]) -> Float[Array, "*b"]:
    """1 - DIoU, in [0, 2]. Zheng et al. 2020, https://arxiv.org/abs/1911.08287, eq. 7."""
    return 1 - diou(boxes, targets)


def ciou_loss(boxes: Float[Array, "*b 4"], targets: Float[Array, "*b 4"]) -> Float[Array, "*b"]:
    """1 - CIoU. Zheng et al. 2020, https://arxiv.org/abs/1911.08287, eq. 10.

    The weight of the aspect's term is a constant to the gradient.
    """
    return 1 - ciou(boxes, targets)
