"""DenseNets on CIFAR-10.

Huang et al. 2016, "Densely connected convolutional networks", https://arxiv.org/abs/1608.06993,
section 4.2: batch 64, 300 epochs, learning rate 0.1 divided by 10 at 50% and 75% of them, Nesterov
momentum 0.9, weight decay 1e-4; without augmentation, dropout 0.2.
Published test error with augmentation (C10+, table 2): 5.24% (40_12), 4.51% (bc_100_12), 3.62%
(bc_250_24), 3.46% (bc_190_40). Not measured here: hours of an accelerator.

    python launch.py --config configs/classification/densenet_cifar10.py --workdir runs/densenet
    ... --config configs/classification/densenet_cifar10.py:plain      # no augmentation: C10
    ... --config configs/classification/densenet_cifar10.py:model=densenet_bc_190_40,batch=32
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`model=densenet_bc_100_12|...`, `batch=64`, `plain` (not augmented), `smoke`."""
    options = parse_arg(arg, model="densenet_bc_100_12", batch=64, plain=False, smoke=False)
    config = ConfigDict()
    config.seed = 0
    dropout = 0.2 if options.plain else 0.0
    config.model = dict(name=options.model, num_classes=10, dropout=dropout)
    config.task = dict(name="classification")
    config.data = dict(
        name="tfds/cifar10",
        image_size=32,
        channels=3,
        batch_size=options.batch,
        in_memory=True,
        augment=dict(random_crop=dict(padding=4), horizontal_flip=dict(p=0.5)),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
    )
    if options.plain:
        del config.data.augment
    config.optim = dict(
        name="nesterov",
        lr=0.1,
        options=dict(momentum=0.9),
        weight_decay=1e-4,
        schedule=dict(name="piecewise", milestones=(150, 225), factor=0.1),
    )
    config.evals = dict(test=dict(split="test"))
    config.train = dict(epochs=300.0, log_every=100)
    if options.smoke:
        config.model.update(stage_sizes=(1, 1), width=8)
        config.data = dict(name="digits", image_size=32, channels=3, batch_size=8)
        config.optim.schedule = dict(name="constant")
        config.evals.test.every = 2
        config.train = dict(steps=2, log_every=1)
    return config
