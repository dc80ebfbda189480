"""One object: whether there is one, where it is, where its points are, what it is.

The network of classification with localisation (1 + 4 + K outputs: 8 for three classes) and of
landmark detection (1 + 2 P outputs: 129 for 64 points, with boxes=False and num_classes=None).
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.backbone_maps import select_maps
from cvjax.nn.dense import Dense
from cvjax.nn.initializers import LINEAR
from cvjax.ops.pool import global_avg_pool

_HIDDEN = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


class Localizer(nn.Module):
    """`present` [B], `box` [B, 4], `points` [B, P, 2], `class_logits` [B, K], and features.

    Raw numbers: `present` and `class_logits` are logits, a box is its centre (x, y), width and
    height and a point is (x, y), as shares of the picture's sides. What is not asked for
    (`boxes`, `num_points`, `num_classes` None) is not there.

    `backbone`: a classifier without a head, by name or dict(name=..., its fields). Its whole map of
    `stride` goes through a dense layer of `hidden` units, since an average would not know places;
    that makes the size of the image a constant of the variables. The average stands beside it,
    since what a thing is does not depend on where it is.
    """

    num_classes: int | None
    backbone: nn.Module
    stride: int = 32
    boxes: bool = True
    num_points: int = 0
    hidden: int = 128
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        _, features = self.backbone(image, train=train)
        (x,) = select_maps(features, (self.stride,))
        pooled = global_avg_pool(x)
        x = x.reshape(len(x), -1)
        x = nn.relu(Dense(self.hidden, kernel_init=_HIDDEN, dtype=self.dtype, name="hidden")(x))
        x = jnp.concatenate([x, pooled], axis=-1)
        counts = {
            "present": 1,
            "box": 4 * self.boxes,
            "points": 2 * self.num_points,
            "class_logits": self.num_classes or 0,
        }
        # float32 whatever the compute type: probabilities and places are made of it.
        fields = {"kernel_init": LINEAR, "dtype": jnp.float32, "name": "output"}
        numbers = Dense(sum(counts.values()), **fields)(x)
        outputs, start = {}, 0
        for name, count in counts.items():
            if count:
                outputs[name] = numbers[:, start : start + count]
            start += count
        outputs["present"] = outputs["present"][:, 0]
        if self.num_points:
            outputs["points"] = outputs["points"].reshape(-1, self.num_points, 2)
        return outputs, {"pooled": x}


VARIANTS = {"localizer": (Localizer, {"backbone": "resnet18"})}
