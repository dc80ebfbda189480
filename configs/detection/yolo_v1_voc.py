"""YOLO and Fast YOLO on PASCAL VOC 2007 and 2012, with the paper's recipe.

Redmon et al. 2015, "You only look once", https://arxiv.org/abs/1506.02640, section 2.2: pictures of
448 pixels, 64 a step, 135 epochs; learning rate slowly raised from 1e-3 to 1e-2, 75 epochs of it,
30 of 1e-3, 30 of 1e-4, momentum 0.9, weight decay 5e-4; scaling and translation by up to 20%,
exposure and saturation by up to 1.5, and its code's flips. Published: VOC 2007 mAP 63.4 (YOLO) and
52.7 (Fast YOLO).

    python launch.py --config configs/detection/yolo_v1_voc.py --workdir runs/yolo_v1_voc
    ... --config configs/detection/yolo_v1_voc.py:fast

`data.path` names the years' folders, VOCdevkit/VOC2007 with the test set unpacked into it;
docs/detection_data.md says how TFDS's `voc` is read instead.
Differs from the paper: from scratch. Its first 20 convolutions learn ImageNet for a week before; a
workdir's layers come in by `train.init_from` and `train.init_rules`. Not run here: it takes days of
one accelerator.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`fast`, `batch=64`, `epochs=135`, `dtype=float32|bfloat16`, `smoke`."""
    options = parse_arg(arg, fast=False, batch=64, epochs=135, dtype="float32", smoke=False)
    config = ConfigDict()
    config.seed = 0
    name = "fast_yolo" if options.fast else "yolo_v1"
    config.model = dict(name=name, num_classes=20, dtype=options.dtype)
    config.task = dict(name="yolo_v1", box_weight=5.0, empty_weight=0.5)
    config.data = dict(
        name="voc",
        path=("VOCdevkit/VOC2007", "VOCdevkit/VOC2012"),
        train_split="trainval",
        image_size=448,
        channels=3,
        batch_size=options.batch,
        augment=dict(
            scale_jitter=dict(scale=(0.8, 1.2)),
            horizontal_flip=dict(p=0.5),
            color_jitter=dict(brightness=(2 / 3, 1.5), saturation=(2 / 3, 1.5)),
            resample=dict(value=0.5),
        ),
        mean=0.5,
        std=0.25,
        workers=8,
        options=dict(fit="stretch", max_objects=64),
    )
    config.optim = dict(
        name="momentum",
        lr=1e-2 * options.batch / 64,
        options=dict(momentum=0.9),
        weight_decay=5e-4,
        schedule=dict(
            name="piecewise", unit="fraction", milestones=(75 / 135, 105 / 135), warmup=1 / 135
        ),
    )
    config.evals = dict(test=dict(split="test", every=None))
    config.train = dict(epochs=float(options.epochs), log_every=100, monitor="test/voc2007_AP50")
    if options.smoke:
        config.model.update(name="fast_yolo", num_classes=10, width=0.05, image_size=64)
        config.data.update(name="scenes", path=(), image_size=64, batch_size=4, workers=0)
        config.data.options = dict(num_examples=8)
        del config.data.train_split
        config.optim.lr = 1e-3
        config.optim.schedule = dict(name="constant")
        config.evals = dict(test=dict(split="test", every=2))
        config.train = dict(steps=2, log_every=1, monitor="test/AP50")
    return config
