"""ResNeXt-50 (32x4d), or a wide ResNet-50, on ImageNet.

Xie et al. 2016, "Aggregated residual transformations for deep neural networks",
https://arxiv.org/abs/1611.05431: batch 256, learning rate 0.1 divided by 10 every 30 epochs, 90
epochs, momentum 0.9, weight decay 1e-4, crops of random size and shape.
Published: 77.8% top-1 (resnext50_32x4d, table 3), 78.1% (wide_resnet50_2, Zagoruyko & Komodakis
2016, https://arxiv.org/abs/1605.07146, table 8), where ResNet-50 had 76.1%. Not measured here:
days of an accelerator.

    python launch.py --config configs/classification/resnext50_imagenet.py --workdir runs/x50
    ... --config configs/classification/resnext50_imagenet.py:model=wide_resnet50_2
    ... --config.data.name=folder --config.data.path=FOLDER   # train/<class>/*, val/<class>/*
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`model=resnext50_32x4d|wide_resnet50_2|...`, `batch`, `epochs`, `dtype`, `smoke`."""
    options = parse_arg(
        arg, model="resnext50_32x4d", batch=256, epochs=90, dtype="float32", smoke=False
    )
    config = ConfigDict()
    config.seed = 0
    config.model = dict(name=options.model, num_classes=1000, dtype=options.dtype)
    config.task = dict(name="classification")
    config.data = dict(
        name="tfds/imagenet2012",
        image_size=224,
        channels=3,
        batch_size=options.batch,
        train_view=dict(name="random_resized_crop", scale=(0.08, 1.0)),
        eval_view=dict(name="resize_center_crop", resize=256),
        augment=dict(horizontal_flip=dict(p=0.5)),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        workers=8,
    )
    config.optim = dict(
        name="nesterov",
        lr=0.1 * options.batch / 256,
        options=dict(momentum=0.9),
        weight_decay=1e-4,
        schedule=dict(name="step", every=30.0, factor=0.1),
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
