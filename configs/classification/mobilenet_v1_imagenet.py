"""MobileNet v1 on ImageNet.

Howard et al. 2017, https://arxiv.org/abs/1704.04861, section 3.2: RMSProp as Inception v3's, less
augmentation and little or no weight decay on the depthwise filters, because small networks
underfit. The paper gives no figures: learning rate, batch, epochs and decay are MobileNet v2's.
Published top-1: 70.6% at width 1, 63.7% at 0.5 (table 6). Not measured here: days of an
accelerator.

    python launch.py --config configs/classification/mobilenet_v1_imagenet.py --workdir runs/net
    ... --config configs/classification/mobilenet_v1_imagenet.py:model=mobilenetv1_050
    ... --config.data.name=folder --config.data.path=FOLDER   # train/<class>/*, val/<class>/*
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`model=mobilenetv1_100|...`, `batch=96`, `epochs=100`, `dtype`, `smoke`."""
    options = parse_arg(
        arg, model="mobilenetv1_100", batch=96, epochs=100, dtype="float32", smoke=False
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
        name="rmsprop",
        lr=0.045,
        options=dict(alpha=0.9, momentum=0.9, eps=1e-3),
        weight_decay=4e-5,
        schedule=dict(name="step", every=1.0, factor=0.98),
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
