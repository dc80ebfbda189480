"""Xception on ImageNet with the paper's recipe.

Chollet 2016, https://arxiv.org/abs/1610.02357, section 4.3: momentum 0.9, learning rate 0.045
times 0.94 every second epoch, weight decay 1e-5, dropout 0.5 below the head, no auxiliary head,
running averages of the parameters in evaluation; 60 GPUs, three days. Batch and number of epochs
are not stated; 256 and 120 are ours.
Published: 79.0% top-1 with one crop (table 1). Not measured here: weeks of an accelerator.

    python launch.py --config configs/classification/xception_imagenet.py --workdir runs/xception
    ... --config configs/classification/xception_imagenet.py:batch=1024,dtype=bfloat16
    ... --config.data.name=folder --config.data.path=FOLDER   # train/<class>/*, val/<class>/*
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`batch=256`, `epochs=120`, `dtype=float32|bfloat16`, `smoke`."""
    options = parse_arg(arg, batch=256, epochs=120, dtype="float32", smoke=False)
    config = ConfigDict()
    config.seed = 0
    config.model = dict(name="xception", num_classes=1000, dropout=0.5, dtype=options.dtype)
    config.task = dict(name="classification")
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
        name="momentum",
        lr=0.045,
        options=dict(momentum=0.9),
        weight_decay=1e-5,
        schedule=dict(name="step", every=2.0, factor=0.94),
    )
    config.ema = dict(decay=0.9999)
    config.evals = dict(validation=dict(split="validation"))
    config.train = dict(epochs=float(options.epochs), log_every=100, monitor="validation/accuracy")
    if options.smoke:
        config.model.update(num_classes=10, stage_sizes=(1, 1), width=8)
        config.data = dict(name="digits", image_size=32, channels=3, batch_size=8)
        config.data.options = dict(test_fraction=0.02)
        config.optim.schedule = dict(name="constant")
        config.evals = dict(validation=dict(split="test", every=2))
        config.train = dict(steps=2, log_every=1, monitor="validation/accuracy")
    return config
