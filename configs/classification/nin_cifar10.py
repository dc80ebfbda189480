"""Network in Network on CIFAR-10.

Lin, Chen & Yan 2013, https://arxiv.org/abs/1312.4400, section 4.2: batch 128, momentum 0.9, dropout
0.5 behind the first two poolings; the learning rate is divided by 10 twice, when the training
accuracy stops rising. Images shifted and mirrored.
Published test error: 10.41%, 8.81% with shifted and mirrored images (table 1).

    python launch.py --config configs/classification/nin_cifar10.py --workdir runs/nin
    ... --config configs/classification/nin_cifar10.py:plain      # images as they are
    ... --config.data.name=folder --config.data.path=FOLDER     # train/<class>/*, test/<class>/*

Differs from the paper: colours are standardised by channel instead of by image and whitened (ZCA).
The paper leaves the learning rate, the weight decay and the length open: those here are ours,
0.05, 1e-4 and 230 epochs. CIFAR-10 as in resnet_cifar10.py. Not run here, not measured.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`epochs=230`, `plain`, `smoke`."""
    options = parse_arg(arg, epochs=230, plain=False, smoke=False)
    config = ConfigDict()
    config.seed = 0
    config.model = dict(name="nin_cifar", num_classes=10)
    config.task = dict(name="classification")
    config.data = dict(
        name="tfds/cifar10",
        image_size=32,
        channels=3,
        batch_size=128,
        in_memory=True,
        augment={}
        if options.plain
        else dict(random_crop=dict(padding=4), horizontal_flip=dict(p=0.5)),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
    )
    config.optim = dict(
        name="momentum",
        lr=0.05,
        options=dict(momentum=0.9),
        weight_decay=1e-4,
        schedule=dict(
            name="piecewise", unit="fraction", milestones=(0.5, 0.8), factor=0.1, warmup=0.01
        ),
    )
    config.evals = dict(test=dict(split="test"))
    config.train = dict(epochs=float(options.epochs), log_every=100)
    if options.smoke:
        config.model.channels = (16, 8, 8, 16, 8, 8, 16, 8)
        config.data = dict(name="digits", image_size=32, channels=3, batch_size=8)
        config.optim.schedule = dict(name="constant")
        config.evals.test.every = 2
        config.train = dict(steps=2, log_every=1)
    return config
