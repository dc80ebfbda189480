"""VGG-16 and its relatives on ImageNet with the recipe of the paper.

Simonyan & Zisserman 2014, https://arxiv.org/abs/1409.1556, section 3: batch 256, 74 epochs,
learning rate 0.01 divided by 10 whenever the validation error stops falling, momentum 0.9, weight
decay 5e-4, dropout 0.5; the shorter side scaled to 256..512 pixels, of which 224 are cropped
and mirrored, colours shifted along their principal axes.
Published: 74.4% top-1 with vgg16 and vgg19 (table 3, images of 384 pixels, tested densely).

    python launch.py --config configs/classification/vgg_imagenet.py --workdir runs/vgg16
    ... --config configs/classification/vgg_imagenet.py:variant=vgg19_bn,dtype=bfloat16
    ... --config.data.name=folder --config.data.path=FOLDER   # train/<class>/*, val/<class>/*

Differs from the paper: starts from He's variance instead of from a trained vgg11, and is tested
on one crop of 224 pixels. ImageNet as in resnet50_imagenet.py. Not run here, not measured: four
times the multiply-adds of a ResNet-50, some two days of a recent accelerator.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`variant=vgg16`, `batch=256`, `epochs=74`, `dtype=float32|bfloat16`, `smoke`."""
    options = parse_arg(arg, variant="vgg16", batch=256, epochs=74, dtype="float32", smoke=False)
    config = ConfigDict()
    config.seed = 0
    config.model = dict(name=options.variant, num_classes=1000, dtype=options.dtype)
    config.task = dict(name="classification")
    config.data = dict(
        name="tfds/imagenet2012",
        image_size=224,
        channels=3,
        batch_size=options.batch,
        # 224 of 512 to 256 pixels of the shorter side; of a square image these shares of its area.
        train_view=dict(name="random_resized_crop", scale=(0.19, 0.77), ratio=(1.0, 1.0)),
        eval_view=dict(name="resize_center_crop", resize=256),
        augment=dict(horizontal_flip=dict(p=0.5), pca_color=dict(std=0.1)),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        workers=8,
    )
    config.optim = dict(
        name="momentum",
        lr=0.01 * options.batch / 256,
        options=dict(momentum=0.9),
        weight_decay=5e-4,
        schedule=dict(
            name="plateau", metric="validation/accuracy", mode="max", factor=0.1, patience=3
        ),
    )
    config.evals = dict(validation=dict(split="validation"))
    config.train = dict(epochs=float(options.epochs), log_every=100, monitor="validation/accuracy")
    if options.smoke:
        config.model.update(num_classes=10, stage_sizes=(1, 1), width=8, hidden=32)
        config.data = dict(name="digits", image_size=32, channels=3, batch_size=8)
        config.optim.schedule = dict(name="constant")
        config.evals = dict(validation=dict(split="test", every=2))
        config.train = dict(steps=2, log_every=1, monitor="validation/accuracy")
    return config
