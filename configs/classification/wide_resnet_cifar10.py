"""Wide ResNets on CIFAR-10.

Zagoruyko & Komodakis 2016, "Wide residual networks", https://arxiv.org/abs/1605.07146, section 3:
batch 128, 200 epochs, learning rate 0.1 times 0.2 at epochs 60, 120 and 160, Nesterov momentum
0.9, weight decay 5e-4. Differs from the paper: crops are padded with zeros, not by reflection.
Published test error: 4.53% (40_4), 4.27% (16_8), 4.00% (28_10), 3.89% (28_10 with dropout 0.3).
Not measured here: 28_10 takes some hours of an accelerator.

    python launch.py --config configs/classification/wide_resnet_cifar10.py --workdir runs/wrn
    ... --config configs/classification/wide_resnet_cifar10.py:model=wrn_28_10,dropout=0.3
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`model=wrn_16_8|wrn_28_10|...`, `dropout=0.0`, `dtype`, `smoke`."""
    options = parse_arg(arg, model="wrn_16_8", dropout=0.0, dtype="float32", smoke=False)
    config = ConfigDict()
    config.seed = 0
    config.model = dict(
        name=options.model, num_classes=10, dropout=options.dropout, dtype=options.dtype
    )
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
    config.optim = dict(
        name="nesterov",
        lr=0.1,
        options=dict(momentum=0.9),
        weight_decay=5e-4,
        schedule=dict(name="piecewise", milestones=(60, 120, 160), factor=0.2),
    )
    config.evals = dict(test=dict(split="test"))
    config.train = dict(epochs=200.0, log_every=100)
    if options.smoke:
        config.model.update(stage_sizes=(1, 1), width=8)
        config.data = dict(name="digits", image_size=32, channels=3, batch_size=8)
        config.optim.schedule = dict(name="constant")
        config.evals.test.every = 2
        config.train = dict(steps=2, log_every=1)
    return config
