"""AlexNet on ImageNet with the recipe of the paper.

Krizhevsky, Sutskever & Hinton 2012, "ImageNet classification with deep convolutional neural
networks", https://papers.nips.cc/paper/4824, sections 4 and 5: batch 128, 90 epochs, learning rate
0.01 (the course's 0.001 is a slip) divided by 10 whenever the validation error stops falling,
momentum 0.9, weight decay 5e-4, dropout 0.5; crops of 227 of 256 pixels, mirrored, colours shifted
along their principal axes.
Published: 59.3% top-1 and 81.8% top-5 (table 2, one network, mean of ten crops).

    python launch.py --config configs/classification/alexnet_imagenet.py --workdir runs/alexnet
    ... --config configs/classification/alexnet_imagenet.py:variant=alexnet,image_size=224
    ... --config.model.groups=1 / --config.model.response_norm=False / --config.model.pool_window=2
    ... --config.data.name=folder --config.data.path=FOLDER   # train/<class>/*, val/<class>/*

Differs from the paper: the mean colour is subtracted instead of the mean image, and one crop is
tested instead of ten. ImageNet as in resnet50_imagenet.py. Not run here, not measured: a recent
accelerator is likely to wait for JPEGs rather than the other way round.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`variant=alexnet_original|alexnet`, `image_size=227`, `batch=128`, `epochs=90`, `smoke`."""
    options = parse_arg(
        arg, variant="alexnet_original", image_size=227, batch=128, epochs=90, smoke=False
    )
    config = ConfigDict()
    config.seed = 0
    config.model = dict(name=options.variant, num_classes=1000)
    config.task = dict(name="classification")
    config.data = dict(
        name="tfds/imagenet2012",
        image_size=options.image_size,
        channels=3,
        batch_size=options.batch,
        # 227 of the 256 pixels of the shorter side: of a square image this share of its area.
        train_view=dict(name="random_resized_crop", scale=(0.786, 0.786), ratio=(1.0, 1.0)),
        eval_view=dict(name="resize_center_crop", resize=256),
        augment=dict(horizontal_flip=dict(p=0.5), pca_color=dict(std=0.1)),
        mean=(0.485, 0.456, 0.406),
        # Initial weights and the constants of the normalisation are made for pixels up to 255.
        std=1 / 255 if options.variant == "alexnet_original" else (0.229, 0.224, 0.225),
        workers=8,
    )
    config.optim = dict(
        name="momentum",
        lr=0.01,
        options=dict(momentum=0.9),
        weight_decay=5e-4,
        schedule=dict(
            name="plateau", metric="validation/accuracy", mode="max", factor=0.1, patience=5
        ),
    )
    config.evals = dict(validation=dict(split="validation"))
    config.train = dict(epochs=float(options.epochs), log_every=100, monitor="validation/accuracy")
    if options.smoke:
        config.model.update(num_classes=10, channels=(4, 4, 4, 4, 4), hidden=32)
        config.data = dict(name="digits", image_size=67, channels=3, batch_size=8)
        config.optim.schedule = dict(name="constant")
        config.evals = dict(validation=dict(split="test", every=2))
        config.train = dict(steps=2, log_every=1, monitor="validation/accuracy")
    return config
