"""SqueezeNet on ImageNet with the recipe of its authors.

Iandola et al. 2016, "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model
size", https://arxiv.org/abs/1602.07360, and the solver they released: batch 512, 170,000 steps (68
epochs), learning rate 0.04 falling linearly to 0, momentum 0.9, weight decay 2e-4, dropout 0.5;
crops of 227 of 256 pixels, mirrored.
Published: 57.5% top-1 and 80.3% top-5 (table 2); torchvision's weights 58.1% and 58.2% (1.1).

    python launch.py --config configs/classification/squeezenet_imagenet.py --workdir runs/squeeze
    ... --config configs/classification/squeezenet_imagenet.py:variant=squeezenet1_1
    ... --config.data.name=folder --config.data.path=FOLDER   # train/<class>/*, val/<class>/*

ImageNet as in resnet50_imagenet.py. Not run here, not measured.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`variant=squeezenet1_0|squeezenet1_1`, `batch=512`, `epochs=68`, `smoke`."""
    options = parse_arg(arg, variant="squeezenet1_0", batch=512, epochs=68, smoke=False)
    config = ConfigDict()
    config.seed = 0
    config.model = dict(name=options.variant, num_classes=1000)
    config.task = dict(name="classification")
    config.data = dict(
        name="tfds/imagenet2012",
        image_size=227,
        channels=3,
        batch_size=options.batch,
        # 227 of the 256 pixels of the shorter side: of a square image this share of its area.
        train_view=dict(name="random_resized_crop", scale=(0.786, 0.786), ratio=(1.0, 1.0)),
        eval_view=dict(name="resize_center_crop", resize=256),
        augment=dict(horizontal_flip=dict(p=0.5)),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        workers=8,
    )
    config.optim = dict(
        name="momentum",
        lr=0.04 * options.batch / 512,
        options=dict(momentum=0.9),
        weight_decay=2e-4,
        schedule=dict(name="linear"),
    )
    config.evals = dict(validation=dict(split="validation"))
    config.train = dict(epochs=float(options.epochs), log_every=100, monitor="validation/accuracy")
    if options.smoke:
        config.model.update(num_classes=10, stage_sizes=(1, 1, 1))
        config.data = dict(name="digits", image_size=32, channels=3, batch_size=8)
        config.optim.schedule = dict(name="constant")
        config.evals = dict(validation=dict(split="test", every=2))
        config.train = dict(steps=2, log_every=1, monitor="validation/accuracy")
    return config
