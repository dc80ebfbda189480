"""NASNet-A on ImageNet.

Zoph et al. 2017, https://arxiv.org/abs/1707.07012, appendix A.4 (RMSProp with decay 0.9 and epsilon
1, label smoothing 0.1, running averages of the parameters) with Inception v3's learning rate of
0.045 times 0.94 every second epoch; the paper's replicas are asynchronous, 32 images each.
Published top-1: 74.0% (mobile, 224x224), 82.7% (large, 331x331: config.data.image_size). Not
measured here: weeks of an accelerator.

    python launch.py --config configs/classification/nasnet_imagenet.py --workdir runs/net
    ... --config configs/classification/nasnet_imagenet.py:model=nasnetalarge,batch=32
    ... --config.data.name=folder --config.data.path=FOLDER   # train/<class>/*, val/<class>/*
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`model=nasnetamobile|...`, `batch=256`, `epochs=250`, `dtype`, `smoke`."""
    options = parse_arg(
        arg, model="nasnetamobile", batch=256, epochs=250, dtype="float32", smoke=False
    )
    config = ConfigDict()
    config.seed = 0
    config.model = dict(name=options.model, num_classes=1000, dtype=options.dtype)
    config.task = dict(name="classification", label_smoothing=0.1)
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
        name="rmsprop",
        lr=0.045,
        options=dict(alpha=0.9, eps=1.0),
        weight_decay=4e-5,
        clip_norm=10.0,
        schedule=dict(name="step", every=2.0, factor=0.94),
    )
    config.ema = dict(decay=0.9999)
    config.evals = dict(validation=dict(split="validation"))
    config.train = dict(epochs=float(options.epochs), log_every=100, monitor="validation/accuracy")
    if options.smoke:
        config.model.update(num_classes=10, stage_sizes=(1, 1), width=8, stem_width=4)
        config.data = dict(name="digits", image_size=32, channels=3, batch_size=8)
        config.data.options = dict(test_fraction=0.02)
        config.optim.schedule = dict(name="constant")
        config.evals = dict(validation=dict(split="test", every=2))
        config.train = dict(steps=2, log_every=1, monitor="validation/accuracy")
    return config
