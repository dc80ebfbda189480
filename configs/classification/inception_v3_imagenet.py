"""Inception v3 on ImageNet with the paper's recipe, auxiliary head and label smoothing.

Szegedy et al. 2015, "Rethinking the Inception architecture", https://arxiv.org/abs/1512.00567,
sections 7 and 8: batches of 32 in each of 50 replicas, 100 epochs, RMSProp with decay 0.9 and
epsilon 1, learning rate 0.045 times 0.94 every second epoch, gradients clipped to norm 2, label
smoothing 0.1, running averages of the parameters. The auxiliary loss times 0.4 and weight decay
4e-5 are the authors' released code's. Here epsilon is outside of the root.
The paper's replicas are asynchronous, so `batch` is one replica's; the learning rate is not
scaled with it.
Published: 78.8% top-1 with one 299x299 crop (table 3); torchvision's copy of the released weights
77.3%. Not measured here: weeks of an accelerator.

    python launch.py --config configs/classification/inception_v3_imagenet.py --workdir runs/v3
    ... --config configs/classification/inception_v3_imagenet.py:batch=256,dtype=bfloat16
    ... --config.data.name=folder --config.data.path=FOLDER   # train/<class>/*, val/<class>/*
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`batch=32`, `epochs=100`, `dtype=float32|bfloat16`, `smoke`."""
    options = parse_arg(arg, batch=32, epochs=100, dtype="float32", smoke=False)
    config = ConfigDict()
    config.seed = 0
    config.model = dict(name="inception_v3", num_classes=1000, aux_heads=True, dtype=options.dtype)
    config.task = dict(name="classification", label_smoothing=0.1, aux_weight=0.4)
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
        clip_norm=2.0,
        schedule=dict(name="step", every=2.0, factor=0.94),
    )
    config.ema = dict(decay=0.9999)
    config.evals = dict(validation=dict(split="validation"))
    config.train = dict(epochs=float(options.epochs), log_every=100, monitor="validation/accuracy")
    if options.smoke:
        config.model.update(num_classes=10, stage_sizes=(0, 1))
        config.data = dict(name="digits", image_size=75, channels=3, batch_size=4)
        config.data.options = dict(test_fraction=0.02)
        config.optim.schedule = dict(name="constant")
        config.evals = dict(validation=dict(split="test", every=2))
        config.train = dict(steps=2, log_every=1, monitor="validation/accuracy")
    return config
