"""RegNets on ImageNet.

Radosavovic et al. 2020, "Designing network design spaces", https://arxiv.org/abs/2003.13678,
section 5: 100 epochs, half a cosine after 5 epochs of warm-up, momentum 0.9, weight decay 5e-5,
learning rate 0.8 for 1024 images a step (table 5 and the authors' code, which uses Nesterov's).
Published top-1 error: 25.9% (RegNetY-400MF). Not measured here: a day of an accelerator.

    python launch.py --config configs/classification/regnet_imagenet.py --workdir runs/regnet
    ... --config configs/classification/regnet_imagenet.py:model=regnet_x_1_6gf,batch=512
    ... --config.data.name=folder --config.data.path=FOLDER   # train/<class>/*, val/<class>/*
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`model=regnet_y_400mf|...`, `batch=1024`, `epochs=100`, `dtype`, `smoke`."""
    options = parse_arg(
        arg, model="regnet_y_400mf", batch=1024, epochs=100, dtype="float32", smoke=False
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
        lr=0.8 * options.batch / 1024,
        options=dict(momentum=0.9),
        weight_decay=5e-5,
        schedule=dict(name="cosine", warmup=5.0),
    )
    config.evals = dict(validation=dict(split="validation"))
    config.train = dict(epochs=float(options.epochs), log_every=100, monitor="validation/accuracy")
    if options.smoke:
        config.model.update(num_classes=10, stage_sizes=(1, 1))
        config.data = dict(name="digits", image_size=32, channels=3, batch_size=8)
        config.optim.schedule = dict(name="constant")
        config.evals = dict(validation=dict(split="test", every=2))
        config.train = dict(steps=2, log_every=1, monitor="validation/accuracy")
    return config
