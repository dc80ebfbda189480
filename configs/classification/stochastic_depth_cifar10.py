"""ResNet-110 on CIFAR-10 with stochastic depth, or at constant depth.

Huang et al. 2016, "Deep networks with stochastic depth", https://arxiv.org/abs/1603.09382, section
4: batch 128, 500 epochs, learning rate 0.1 divided by 10 at epochs 250 and 375, Nesterov momentum
0.9, weight decay 1e-4; blocks are skipped with a probability that rises linearly to 0.5.
Differs from the paper: which blocks are skipped is drawn for every image, not once a step, so that
no computing is saved.
Published test error: 5.23% with, 6.41% without. Not measured here: hours of an accelerator.

    python launch.py --config configs/classification/stochastic_depth_cifar10.py --workdir runs/sd
    ... --config configs/classification/stochastic_depth_cifar10.py:drop_path=0    # constant depth
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`model=resnet110|...`, `drop_path=0.5`, `smoke`."""
    options = parse_arg(arg, model="resnet110", drop_path=0.5, smoke=False)
    config = ConfigDict()
    config.seed = 0
    config.model = dict(name=options.model, num_classes=10, drop_path=options.drop_path)
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
        weight_decay=1e-4,
        schedule=dict(name="piecewise", milestones=(250, 375), factor=0.1),
    )
    config.evals = dict(test=dict(split="test"))
    config.train = dict(epochs=500.0, log_every=100)
    if options.smoke:
        config.model.update(stage_sizes=(1, 1), width=8)
        config.data = dict(name="digits", image_size=32, channels=3, batch_size=8)
        config.optim.schedule = dict(name="constant")
        config.evals.test.every = 2
        config.train = dict(steps=2, log_every=1)
    return config
