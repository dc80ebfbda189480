"""Inception v4 and Inception-ResNet v2 on ImageNet with the paper's recipe.

Szegedy et al. 2016, https://arxiv.org/abs/1602.07261, section 4: 20 asynchronous replicas, RMSProp
with decay 0.9 and epsilon 1, learning rate 0.045 times 0.94 every second epoch, running averages
of the parameters. Batches of 32 in each replica, label smoothing 0.1 and weight decay 4e-5 are
their earlier paper's and released code's; 160 epochs are what the paper's curves show. Here
epsilon is outside of the root.
Published top-1 error with one crop (table 2): 20.0% (v4), 19.9% (Inception-ResNet v2). Not
measured here: weeks of an accelerator.

    python launch.py --config configs/classification/inception_v4_imagenet.py --workdir runs/v4
    ... --config configs/classification/inception_v4_imagenet.py:model=inception_resnet_v2
    ... --config.data.name=folder --config.data.path=FOLDER   # train/<class>/*, val/<class>/*
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`model=inception_v4|inception_resnet_v2`, `batch=32`, `epochs=160`, `dtype`, `smoke`."""
    options = parse_arg(
        arg, model="inception_v4", batch=32, epochs=160, dtype="float32", smoke=False
    )
    config = ConfigDict()
    config.seed = 0
    config.model = dict(name=options.model, num_classes=1000, dtype=options.dtype)
    config.task = dict(name="classification", label_smoothing=0.1)
    config.data = dict(
        name="tfds/imagenet2012",
        image_size=299,
        channels=3,
        batch_size=options.batch,
        train_view=dict(name="random_resized_crop", scale=(0.08, 1.0)),
        eval_view=dict(name="resize_center_crop", resize=342),
        augment=dict(horizontal_flip=dict(p=0.5)),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        workers=8,
    )
    config.optim = dict(
        name="rmsprop",
        lr=0.045,
        options=dict(alpha=0.9, eps=1.0),
        weight_decay=4e-5,
        schedule=dict(name="step", every=2.0, factor=0.94),
    )
    config.ema = dict(decay=0.9999)
    config.evals = dict(validation=dict(split="validation"))
    config.train = dict(epochs=float(options.epochs), log_every=100, monitor="validation/accuracy")
    if options.smoke:
        config.model.update(num_classes=10, stage_sizes=(1,))
        config.data = dict(name="digits", image_size=75, channels=3, batch_size=4)
        config.data.options = dict(test_fraction=0.02)
        config.optim.schedule = dict(name="constant")
        config.evals = dict(validation=dict(split="test", every=2))
        config.train = dict(steps=2, log_every=1, monitor="validation/accuracy")
    return config
