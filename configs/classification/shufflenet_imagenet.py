"""ShuffleNet v1 and v2 on ImageNet.

Zhang et al. 2017, https://arxiv.org/abs/1707.01083, section 4, and Ma et al. 2018,
https://arxiv.org/abs/1807.11164, section 4, "exactly the same": weight decay 4e-5, learning rate
from 0.5 down to 0 on a line, 1024 images a step, 3e5 steps (240 epochs), weaker scale augmentation.
Published top-1: 67.6% (v1, g=3), 69.4% (v2 x1.0; table 8 of v2). Not measured here: days of an
accelerator.

    python launch.py --config configs/classification/shufflenet_imagenet.py --workdir runs/net
    ... --config configs/classification/shufflenet_imagenet.py:model=shufflenet_v1_g3,batch=256
    ... --config.data.name=folder --config.data.path=FOLDER   # train/<class>/*, val/<class>/*
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`model=shufflenet_v2_x1_0|...`, `batch=1024`, `epochs=240`, `dtype`, `smoke`."""
    options = parse_arg(
        arg, model="shufflenet_v2_x1_0", batch=1024, epochs=240, dtype="float32", smoke=False
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
        train_view=dict(name="random_resized_crop", scale=(0.35, 1.0)),
        eval_view=dict(name="resize_center_crop", resize=256),
        augment=dict(horizontal_flip=dict(p=0.5)),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        workers=8,
    )
    config.optim = dict(
        name="momentum",
        lr=0.5 * options.batch / 1024,
        options=dict(momentum=0.9),
        weight_decay=4e-5,
        schedule=dict(name="linear"),
    )
    config.evals = dict(validation=dict(split="validation"))
    config.train = dict(epochs=float(options.epochs), log_every=100, monitor="validation/accuracy")
    if options.smoke:
        config.model.update(num_classes=10, stage_sizes=(1, 1))
        config.data = dict(name="digits", image_size=32, channels=3, batch_size=8)
        config.data.options = dict(test_fraction=0.02)
        config.optim.schedule = dict(name="constant")
        config.evals = dict(validation=dict(split="test", every=2))
        config.train = dict(steps=2, log_every=1, monitor="validation/accuracy")
    return config
