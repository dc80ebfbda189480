"""Convolution layers."""

from typing import Any

from flax import linen as nn

from cvjax.ops.conv_lowering import conv_general_dilated


class Conv(nn.Conv):
    """`flax.linen.Conv`, parameters and results alike, that trains fast on a CPU too."""

    conv_general_dilated: Any = conv_general_dilated
