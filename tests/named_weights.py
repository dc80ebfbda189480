"""Weights and inputs that are exact functions of their names, so that goldens need no checkpoint.

The goldens in tests/golden/models/ are outputs of torchvision's (`tv_*`) and timm's models with
these weights. Only the raw stream of PCG64 is drawn, and all but the last step is exact in
float32, so the arrays are the same bits everywhere; `checksum` tells.
"""

import dataclasses
import json
import math
import pathlib
import zlib

import numpy as np

GOLDEN = pathlib.Path(__file__).parent / "golden" / "models"


@dataclasses.dataclass(frozen=True)
class Golden:
    """One reference model's run.

    Attributes:
        spec: what was called, parameter and multiply-add counts, float32's own error.
        state: its weights by PyTorch's names, in its layouts.
        image: what went in, [B, H, W, C].
        outputs: what came out, by name; `logits` among them.
        stages: inner maps by module name: ([B, C, H, W], mean, std, min, max, 64 samples).
    """

    spec: dict
    state: dict[str, np.ndarray]
    image: np.ndarray
    outputs: dict[str, np.ndarray]
    stages: dict[str, tuple[list[int], np.ndarray]]


def load(name: str) -> Golden:
    arrays = dict(np.load(GOLDEN / f"{name}.npz"))
    spec = json.loads(str(arrays.pop("spec")))
    state = {name: tensor(name, shape, *log2) for name, shape, *log2 in spec["state"]}
    assert checksum(state) == spec["state_crc32"]
    rows = arrays.pop("stages")
    stages = {entry[0]: (entry[1], row) for entry, row in zip(spec["stages"], rows)}
    return Golden(spec, state, image(spec["input"]), arrays, stages)


def tensor(name: str, shape: list[int], log2: int = 0) -> np.ndarray:
    leaf = name.rsplit(".", 1)[-1]
    u = uniform(name, shape)
    scales = ("gamma", "layer_scale", "lambda1", "lambda2")
    if leaf == "running_var" or leaf in scales or ("weight" in leaf and len(shape) <= 1):
        values = 1 + np.float32(0.5) * u
    elif leaf == "running_mean" or leaf.endswith("bias"):
        values = np.float32(0.25) * u
    elif "weight" in leaf:
        gain = 2 if len(shape) > 2 else 1  # a convolution feeds a ReLU, a linear layer does not
        values = np.float32(math.sqrt(3 * gain / math.prod(shape[1:]))) * u
    else:  # tokens, position tables
        values = u
    return np.ldexp(values, log2).astype(np.float32) if log2 else values.astype(np.float32)


def keras_tensor(name: str, shape: list[int]) -> np.ndarray:
    """Likewise by Keras' names and layouts: "conv1_bn/gamma"."""
    u, leaf = uniform(name, shape), name.rpartition("/")[2]
    if leaf == "kernel":
        return np.float32(math.sqrt(6 / math.prod(shape[:-1]))) * u
    return 1 + np.float32(0.5) * u if leaf in ("gamma", "moving_variance") else u / np.float32(4)


def image(shape: list[int], key: str = "input") -> np.ndarray:
    """Smooth waves plus noise in (-1, 1), given as [B, C, H, W], returned as [B, H, W, C]."""
    batch, channels, height, width = shape
    y, x = ((np.arange(n) + 0.5) * 4 / n for n in (height, width))
    y0, x0 = (np.minimum(v.astype(int), 3) for v in (y, x))
    fy, fx = (y - y0)[:, None], (x - x0)[None, :]
    out = np.empty(shape, np.float32)
    for b in range(batch):
        for c in range(channels):
            grid = uniform(f"{key}/{b}/{c}/grid", [5, 5]).astype(np.float64)
            top = grid[y0][:, x0] * (1 - fx) + grid[y0][:, x0 + 1] * fx
            bottom = grid[y0 + 1][:, x0] * (1 - fx) + grid[y0 + 1][:, x0 + 1] * fx
            smooth = top * (1 - fy) + bottom * fy
            noise = uniform(f"{key}/{b}/{c}/noise", [height, width]).astype(np.float64)
            out[b, c] = np.round((0.5 * smooth + 0.5 * noise) * 65536) / 65536
    return out.transpose(0, 2, 3, 1)


def uniform(key: str, shape: list[int]) -> np.ndarray:
    """Odd multiples of 2**-24 in (-1, 1)."""
    count = math.prod(shape)
    raw = np.random.PCG64(zlib.crc32(key.encode())).random_raw((count + 1) // 2)
    bits = np.asarray(raw, "<u8").view("<u4")[:count] >> 8
    odd = 2 * bits.astype(np.int32) + np.int32(1 - (1 << 24))
    return (odd.astype(np.float32) * np.float32(2.0**-24)).reshape(shape)


def checksum(state: dict[str, np.ndarray]) -> int:
    crc = 0
    for name in sorted(state):
        values = np.ascontiguousarray(state[name], "<f4").reshape(-1).view(np.uint8)
        crc = zlib.crc32(values, zlib.crc32(name.encode(), crc))
    return crc
