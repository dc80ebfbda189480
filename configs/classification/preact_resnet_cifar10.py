"""Pre-activation ResNets on CIFAR-10.

He et al. 2016, "Identity mappings in deep residual networks", https://arxiv.org/abs/1603.05027,
appendix: batch 128, 64,000 steps, learning rate 0.1 divided by 10 at 32,000 and 48,000, momentum
0.9, weight decay 1e-4. Differs from the paper: its 400 first steps are at 0.01, here they rise.
Published test error (tables 2, 3): 6.37% (110), 5.46% (164), 4.92% (1001); with the activation
behind the addition 6.61%, 5.93% and 7.61%. Not measured here: hours of an accelerator.

    python launch.py --config configs/classification/preact_resnet_cifar10.py --workdir runs/pre110
    ... --config configs/classification/preact_resnet_cifar10.py:model=preact_resnet164
    ... --config configs/classification/preact_resnet_cifar10.py:model=resnet110  # for comparison
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`model=preact_resnet110|preact_resnet164|resnet110|...`, `smoke`."""
    options = parse_arg(arg, model="preact_resnet110", smoke=False)
    config = ConfigDict()
    config.seed = 0
    config.model = dict(name=options.model, num_classes=10)
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
        name="momentum",
        lr=0.1,
        options=dict(momentum=0.9),
        weight_decay=1e-4,
        schedule=dict(
            name="piecewise", unit="step", milestones=(32_000, 48_000), factor=0.1, warmup=400
        ),
    )
    config.evals = dict(test=dict(split="test"))
    config.train = dict(steps=64_000, log_every=100)
    if options.smoke:
        config.model.update(stage_sizes=(1, 1), width=8)
        config.data = dict(name="digits", image_size=32, channels=3, batch_size=8)
        config.optim.schedule = dict(name="constant")
        config.evals.test.every = 2
        config.train = dict(steps=2, log_every=1)
    return config
