"""ResNets and plain networks on CIFAR-10 with the recipe of the paper.

He et al. 2015, "Deep residual learning for image recognition", https://arxiv.org/abs/1512.03385,
section 4.2: depth 6n + 2, batch 128, 64,000 steps, learning rate 0.1 divided by 10 at 32,000 and
48,000 steps, momentum 0.9, weight decay 1e-4, images padded by 4 pixels, cropped and mirrored.
Published test error: 8.75% (20), 7.51% (32), 7.17% (44), 6.97% (56), 6.43% (110).

    python launch.py --config configs/classification/resnet_cifar10.py:depth=20 --workdir runs/r20
    ... --config configs/classification/resnet_cifar10.py:depth=56,plain      # without shortcuts
    ... --config.data.name=folder --config.data.path=FOLDER     # train/<class>/*, test/<class>/*

CIFAR-10 as TFDS prepares it: `pip install -e '.[tensorflow]' && tfds build cifar10
--file_format=array_record`. Not run here: an accelerator takes it in some 20 minutes.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`depth=20|32|44|56|110`, `plain`, `smoke`."""
    options = parse_arg(arg, depth=20, plain=False, smoke=False)
    config = ConfigDict()
    config.seed = 0
    kind = "plain" if options.plain else "resnet"
    config.model = dict(name=f"{kind}{options.depth}", num_classes=10)
    config.task = dict(name="classification")
    config.data = dict(
        name="tfds/cifar10",
        image_size=32,
        channels=3,
        batch_size=128,
        in_memory=True,
        augment=dict(random_crop=dict(padding=4), horizontal_flip=dict(p=0.5)),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
    )
    # The 110-layer network starts at 0.01 in the paper until it learns at all; so does a warm-up.
    warmup = 400 if options.depth >= 110 else 0
    config.optim = dict(
        name="momentum",
        lr=0.1,
        options=dict(momentum=0.9),
        weight_decay=1e-4,
        schedule=dict(
            name="piecewise", unit="step", milestones=(32_000, 48_000), factor=0.1, warmup=warmup
        ),
    )
    config.evals = dict(test=dict(split="test"))
    config.train = dict(steps=64_000, log_every=100)
    if options.smoke:
        config.data = dict(name="digits", image_size=32, channels=3, batch_size=8)
        config.optim.schedule = dict(name="constant")
        config.evals.test.every = 2
        config.train = dict(steps=2, log_every=1)
    return config
