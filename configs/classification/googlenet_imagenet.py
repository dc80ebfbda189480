"""GoogLeNet on ImageNet with its two auxiliary heads.

Szegedy et al. 2014, "Going deeper with convolutions", https://arxiv.org/abs/1409.4842, section 6:
momentum 0.9, the learning rate 4% lower every 8 epochs, crops of 8 to 100% of the image with
aspect ratios from 3/4 to 4/3, auxiliary losses times 0.3. The paper names neither learning rate,
weight decay nor length; 0.01 for 256 examples, 2e-4 and 120 epochs are ours, and so is averaging
parameters by a moving average instead of Polyak's.
Published: 10.07% top-5 error with one network and one crop (table 3); torchvision's weights with
BatchNorm have 69.8% top-1. Not measured here: it takes days of an accelerator.

    python launch.py --config configs/classification/googlenet_imagenet.py --workdir runs/googlenet
    ... --config configs/classification/googlenet_imagenet.py:batch=1024,dtype=bfloat16
    ... --config.data.name=folder --config.data.path=FOLDER   # train/<class>/*, val/<class>/*
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`batch=256`, `epochs=120`, `dtype=float32|bfloat16`, `smoke`."""
    options = parse_arg(arg, batch=256, epochs=120, dtype="float32", smoke=False)
    config = ConfigDict()
    config.seed = 0
    config.model = dict(name="googlenet", num_classes=1000, aux_heads=True, dtype=options.dtype)
    config.task = dict(name="classification", aux_weight=0.3)
    config.data = dict(
        name="tfds/imagenet2012",
        image_size=224,
        channels=3,
        batch_size=options.batch,
        train_view=dict(name="random_resized_crop", scale=(0.08, 1.0)),
        eval_view=dict(name="resize_center_crop", resize=256),
        augment=dict(horizontal_flip=dict(p=0.5)),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        workers=8,
    )
    config.optim = dict(
        name="momentum",
        lr=0.01 * options.batch / 256,
        options=dict(momentum=0.9),
        weight_decay=2e-4,
        schedule=dict(name="step", every=8.0, factor=0.96),
    )
    config.ema = dict(decay=0.9999)
    config.evals = dict(validation=dict(split="validation"))
    config.train = dict(epochs=float(options.epochs), log_every=100, monitor="validation/accuracy")
    if options.smoke:
        config.model.update(num_classes=10, stage_sizes=(0, 1))
        config.data = dict(name="digits", image_size=32, channels=3, batch_size=8)
        config.data.options = dict(test_fraction=0.02)
        config.optim.schedule = dict(name="constant")
        config.evals = dict(validation=dict(split="test", every=2))
        config.train = dict(steps=2, log_every=1, monitor="validation/accuracy")
    return config
