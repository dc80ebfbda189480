"""SE-ResNet-50 and SENet-154 on ImageNet.

Hu et al. 2017, "Squeeze-and-excitation networks", https://arxiv.org/abs/1709.01507, section 5.1:
batch 1024, learning rate 0.6 divided by 10 every 30 epochs, 100 epochs, momentum 0.9. Weight decay
1e-4 is ours; the section names none. The warm-up of 5 epochs is ours as well.
Published top-1 error: 23.29% (SE-ResNet-50, ResNet-50 24.80%), 22.38% (101), 21.57% (152), 21.10%
(SE-ResNeXt-50), 18.68% (SENet-154). Not measured here: days of an accelerator.

    python launch.py --config configs/classification/senet_imagenet.py --workdir runs/se50
    ... --config configs/classification/senet_imagenet.py:model=senet154,dtype=bfloat16
    ... --config.data.name=folder --config.data.path=FOLDER   # train/<class>/*, val/<class>/*
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`model=seresnet50|senet154|...`, `batch=1024`, `epochs=100`, `dtype`, `smoke`."""
    options = parse_arg(
        arg, model="seresnet50", batch=1024, epochs=100, dtype="float32", smoke=False
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
        name="momentum",
        lr=0.6 * options.batch / 1024,
        options=dict(momentum=0.9),
        weight_decay=1e-4,
        schedule=dict(name="step", every=30.0, factor=0.1, warmup=5.0),
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
