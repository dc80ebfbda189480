"""What the goldens of torchvision's detectors were made of: weights, two pictures, their objects.

The pictures differ in size; torchvision resizes them (the shorter side to 128, the longer to at
most 192; SSD: both to `side`) and pads them with zeros.
"""

import json

import named_weights
import numpy as np

SIDE = 192
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def load(path):
    """(what was called and what went in, the arrays that came out)."""
    arrays = dict(np.load(path))
    return json.loads(str(arrays.pop("spec"))), arrays


def state_dict(spec):
    state = {name: named_weights.tensor(name, shape, *log2) for name, shape, *log2 in spec["state"]}
    assert named_weights.checksum(state) == spec["state_crc32"]
    return state


def scales(spec, sizes):
    """[B, 4] that bring boxes to the resized pictures."""
    scale = [
        [new / old for new, old in zip(s, shape[1:])] for s, shape in zip(sizes, spec["shapes"])
    ]
    return np.array(scale)[:, [1, 0, 1, 0]]


def batch(spec, sizes, *, side=SIDE, mean=MEAN, std=STD):
    images = np.zeros((2, side, side, 3), np.float32)
    boxes = np.zeros((2, 3, 4), np.float32)
    label, valid = np.zeros((2, 3), np.int32), np.zeros((2, 3), bool)
    for i, (shape, (height, width)) in enumerate(zip(spec["shapes"], sizes)):
        image = (named_weights.image([1, *shape], f"input{i}")[0].astype(np.float64) + 1) / 2
        image = (image - np.array(mean)) / np.array(std)
        images[i, :height, :width] = _resized(image, height, width)
    for i, (target, scale) in enumerate(zip(spec["targets"], scales(spec, sizes))):
        count = len(target["labels"])
        boxes[i, :count] = target["boxes"] * scale
        label[i, :count], valid[i, :count] = target["labels"], True
    return {"image": images, "boxes": boxes, "box_label": label, "box_valid": valid}


def samples(x, count):
    """As many numbers of `x`, in its order, evenly spread: what a golden keeps of a large array."""
    flat = np.asarray(x).ravel()
    return flat[(np.arange(count) * flat.size) // count]


def _resized(image, height, width):
    """Bilinear between pixel centres, no antialiasing."""
    for axis, size in enumerate((height, width)):
        old = image.shape[axis]
        at = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, None)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, old - 1)
        share = (at - low).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        image = image.take(low, axis) * (1 - share) + image.take(high, axis) * share
    return image
