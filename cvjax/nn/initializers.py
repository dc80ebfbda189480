"""Initial weights that several families share."""

from flax import linen as nn

# Gaussian with variance 2 / fan_out (He et al. 2015, https://arxiv.org/abs/1502.01852, eq. 14).
HE_FAN_OUT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
# PyTorch's default for a linear layer: uniform in +-1 / sqrt(fan_in).
LINEAR = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
# Transformers' (BERT's, ViT's). timm and torchvision cut it off at -2 and 2, which lies a hundred
# deviations out.
SMALL_NORMAL = nn.initializers.normal(0.02)
