"""ViT, DeiT, DeiT III: timm's vision_transformer.py and deit.py, torchvision's."""

import re
from collections.abc import Mapping

import numpy as np
from flax import linen as nn

from cvjax.pretrained.convert import tensor_name

SOURCES = ("timm", "torchvision")
_TIMM = {
    "class_token": "cls_token",
    "distillation_token": "dist_token",
    "position_embedding": "pos_embed",
    "patch_embedding": "patch_embed.proj",
    "norm": "norm",
    "head": "head",
    "head_distilled": "head_dist",
    "attention/qkv": "attn.qkv",
    "attention/proj": "attn.proj",
    "mlp/fc1": "mlp.fc1",
    "mlp/fc2": "mlp.fc2",
    "norm1": "norm1",
    "norm2": "norm2",
    "layer_scale1": "ls1.gamma",
    "layer_scale2": "ls2.gamma",
}
_TORCHVISION = {
    "class_token": "class_token",
    "position_embedding": "encoder.pos_embedding",
    "patch_embedding": "conv_proj",
    "norm": "encoder.ln",
    "head": "heads.head",
    "attention/qkv": "self_attention",
    "attention/proj": "self_attention.out_proj",
    "mlp/fc1": "mlp.0",
    "mlp/fc2": "mlp.3",
    "norm1": "ln_1",
    "norm2": "ln_2",
}
_BLOCKS = {"timm": "blocks.{}.", "torchvision": "encoder.layers.encoder_layer_{}."}


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array."""
    names = {"timm": _TIMM, "torchvision": _TORCHVISION}[source]
    block, module = re.fullmatch(r"(?:block(\d+)/?)?(.*)", path).groups()
    prefix = "" if block is None else _BLOCKS[source].format(int(block) - 1)
    if not module:  # an array of the model's or the block's own
        return prefix + names[leaf]
    if source == "torchvision" and module == "attention/qkv":
        return prefix + tensor_name(names[module], leaf).replace("attention.", "attention.in_proj_")
    return prefix + tensor_name(names[module], leaf)


def current_names(state_dict: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """torchvision's published files call the MLP's layers linear_1 and linear_2."""
    today = {"mlp.linear_1.": "mlp.0.", "mlp.linear_2.": "mlp.3."}

    def renamed(name: str) -> str:
        return re.sub(r"mlp\.linear_[12]\.", lambda found: today[found[0]], name)

    return {renamed(name): value for name, value in state_dict.items()}
