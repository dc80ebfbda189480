"""ZFNet on ImageNet with the recipe of the paper.

Zeiler & Fergus 2013, "Visualizing and understanding convolutional networks",
https://arxiv.org/abs/1311.2901, section 3: batch 128, 70 epochs, learning rate 0.01 lowered when
the validation error stops falling, momentum 0.9, dropout 0.5; crops of 224 of 256 pixels, mirrored.
Published: 62.5% top-1 and 84.0% top-5 (table 2, one network (b), mean of ten crops).

    python launch.py --config configs/classification/zfnet_imagenet.py --workdir runs/zfnet
    ... --config.data.name=folder --config.data.path=FOLDER   # train/<class>/*, val/<class>/*

Differs from the paper: weight decay 5e-4 as AlexNet's instead of limits on the filters' length; the
mean colour is subtracted instead of the mean image; one crop is tested instead of ten. ImageNet
as in resnet50_imagenet.py. Not run here, not measured.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`batch=128`, `epochs=70`, `smoke`."""
    options = parse_arg(arg, batch=128, epochs=70, smoke=False)
    config = ConfigDict()
    config.seed = 0
    config.model = dict(name="zfnet", num_classes=1000)
    config.task = dict(name="classification")
    config.data = dict(
        name="tfds/imagenet2012",
        image_size=224,
        channels=3,
        batch_size=options.batch,
        # 224 of the 256 pixels of the shorter side: of a square image this share of its area.
        train_view=dict(name="random_resized_crop", scale=(0.766, 0.766), ratio=(1.0, 1.0)),
        eval_view=dict(name="resize_center_crop", resize=256),
        augment=dict(horizontal_flip=dict(p=0.5)),
        mean=(0.485, 0.456, 0.406),
        std=1 / 255,  # as the paper's: initial weights are made for pixels up to 255
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
        config.data = dict(name="digits", image_size=63, channels=3, batch_size=8)
        config.optim.schedule = dict(name="constant")
        config.evals = dict(validation=dict(split="test", every=2))
        config.train = dict(steps=2, log_every=1, monitor="validation/accuracy")
    return config
