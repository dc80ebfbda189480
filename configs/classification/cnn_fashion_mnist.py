"""The small CNN (421,642 parameters) on Fashion-MNIST: 60,000 + 10,000 images of 28x28.

Xiao et al. 2017, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
algorithms", https://arxiv.org/abs/1708.07747. The files are looked for where Debian's package
`dataset-fashion-mnist` puts them, then in data/fashion-mnist.

    python launch.py --config configs/classification/cnn_fashion_mnist.py --workdir runs/fashion
    ... --config.data.path=FOLDER                     # the four idx files elsewhere
    ... --config.data.name=tfds/fashion_mnist --config.data.path= --config.data.options={}
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg

FOLDERS = ("/usr/share/datasets/fashion-mnist", "data/fashion-mnist")


def get_config(arg: str = "") -> ConfigDict:
    """`epochs=13`, `smoke`."""
    options = parse_arg(arg, epochs=13, smoke=False)
    config = ConfigDict()
    config.seed = 0
    config.model = dict(name="small_cnn", num_classes=10, dropout=0.3)
    config.task = dict(name="classification")
    config.data = dict(
        name="idx",
        path=FOLDERS,
        options=dict(class_names="fashion_mnist"),
        batch_size=128,
        augment=dict(
            horizontal_flip=dict(p=0.5),
            translate=dict(fraction=0.036),  # one pixel each way
        ),
        mean=0.286,  # of the 60,000 training images
        std=0.353,
    )
    config.optim = dict(
        name="adamw",
        lr=3e-3,
        weight_decay=0.01,
        decay_exempt=(".*/bias",),
        schedule=dict(name="one_cycle", pct_start=0.25),
    )
    config.ema = dict(decay=0.998)
    config.evals = dict(test=dict(split="test"))
    config.train = dict(epochs=float(options.epochs), log_every=50)
    if options.smoke:
        config.data = dict(name="digits", image_size=28, batch_size=16)
        config.train = dict(steps=4, log_every=2)
        config.evals.test.every = 2
    return config
