"""Darknet-53 and Darknet-19 on ImageNet with the recipe of YOLO9000.

Redmon & Farhadi 2016, https://arxiv.org/abs/1612.08242, section 3.2: 160 epochs, learning rate
0.1 falling to 0 by the fourth power, momentum 0.9, weight decay 5e-4; random crops, rotations,
shifts of hue, saturation and exposure, at 224 pixels. Darknet-53: Redmon & Farhadi 2018,
https://arxiv.org/abs/1804.02767, at 256.
Published: 77.2% top-1 (Darknet-53, table 2), 72.9% (Darknet-19, 224 pixels; 76.5% after 10 more
epochs at 448 and 0.001).

    python launch.py --config configs/classification/darknet_imagenet.py --workdir runs/darknet53
    ... --config configs/classification/darknet_imagenet.py:variant=darknet19,image_size=224
    ... --config.data.name=folder --config.data.path=FOLDER   # train/<class>/*, val/<class>/*

The papers do not say the batch (their code: 128) nor the ranges (their code: 7 degrees, a tenth of
the colour circle, factors up to 4/3). ImageNet as in resnet50_imagenet.py. Not run here, not
measured: Darknet-53 has twice the multiply-adds of a ResNet-50, and 160 epochs.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`variant=darknet53|darknet19`, `image_size=256`, `batch`, `epochs`, `dtype`, `smoke`."""
    options = parse_arg(
        arg,
        variant="darknet53",
        image_size=256,
        batch=128,
        epochs=160,
        dtype="float32",
        smoke=False,
    )
    config = ConfigDict()
    config.seed = 0
    config.model = dict(name=options.variant, num_classes=1000, dtype=options.dtype)
    config.task = dict(name="classification")
    config.data = dict(
        name="tfds/imagenet2012",
        image_size=options.image_size,
        channels=3,
        batch_size=options.batch,
        train_view=dict(name="random_resized_crop", scale=(0.25, 1.0)),
        eval_view=dict(name="resize_center_crop"),
        augment=dict(
            horizontal_flip=dict(p=0.5),
            rotate=dict(degrees=7.0),
            color_jitter=dict(brightness=(0.75, 1.33), saturation=(0.75, 1.33), hue=0.1),
        ),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        workers=8,
    )
    config.optim = dict(
        name="momentum",
        lr=0.1 * options.batch / 128,
        options=dict(momentum=0.9),
        weight_decay=5e-4,
        schedule=dict(name="polynomial", power=4.0),
    )
    config.evals = dict(validation=dict(split="validation"))
    config.train = dict(epochs=float(options.epochs), log_every=100, monitor="validation/accuracy")
    if options.smoke:
        config.model.update(num_classes=10, stage_sizes=(1, 1), width=8)
        config.data = dict(name="digits", image_size=32, channels=3, batch_size=8)
        config.optim.schedule = dict(name="constant")
        config.evals = dict(validation=dict(split="test", every=2))
        config.train = dict(steps=2, log_every=1, monitor="validation/accuracy")
    return config
