"""DCGAN on Fashion-MNIST: 60,000 pictures of 28x28.

Radford et al. 2016, "Unsupervised representation learning with deep convolutional generative
adversarial networks", https://arxiv.org/abs/1511.06434, with its Adam (learning rate 2e-4, b1 0.5).

    python launch.py --config configs/generation/dcgan_fashion_mnist.py --workdir runs/dcgan
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg

FOLDERS = ("/usr/share/datasets/fashion-mnist", "data/fashion-mnist")


def get_config(arg: str = "") -> ConfigDict:
    """`steps=6000`, `conditional`, `smoke`."""
    options = parse_arg(arg, steps=6000, conditional=False, smoke=False)
    config = ConfigDict()
    config.seed = 0
    config.model = dict(
        name="dcgan", image_size=28, channels=1, width=64, conditional=options.conditional
    )
    config.task = dict(name="gan")
    config.data = dict(
        name="idx",
        path=FOLDERS,
        options=dict(class_names="fashion_mnist"),
        batch_size=64,
    )
    config.optim = dict(name="adam", lr=2e-4, options=dict(b1=0.5, b2=0.999))
    config.ema = dict(decay=0.999)
    config.train = dict(steps=options.steps, log_every=100, checkpoint_every=1000, monitor="")
    if options.smoke:
        config.model.width = 4
        config.data = dict(name="digits", image_size=28, batch_size=8)
        config.train = dict(steps=4, log_every=2, monitor="")
    return config
