"""LeNet-5 on scikit-learn's handwritten digits: real scans, nothing to download.

LeCun et al. 1998, "Gradient-based learning applied to document recognition"; today's variant
(ReLU, max pooling). 1,797 scans of 8x8 pixels, enlarged to 32x32, a fifth of them held out.

    python launch.py --config configs/classification/lenet_digits.py --workdir runs/lenet_digits

`variant=paper` is the network of the paper, as far as it differs: tanh, trained subsampling, the
sparse connections of C3.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg

MODELS = {"today": "lenet5", "paper": "lenet5_paper"}


def get_config(arg: str = "") -> ConfigDict:
    """`variant=today|paper`, `smoke`."""
    options = parse_arg(arg, variant="today", smoke=False)
    config = ConfigDict()
    config.seed = 0
    config.model = dict(name=MODELS[options.variant])
    config.task = dict(name="classification")
    config.data = dict(
        name="digits",
        image_size=32,
        batch_size=64,
        augment=dict(
            rotate=dict(degrees=10.0),
            translate=dict(fraction=0.08),
        ),
        mean=0.5,
        std=0.5,
    )
    config.optim = dict(
        name="adam",
        lr=2e-3,
        schedule=dict(name="cosine", warmup=1.0),
    )
    config.evals = dict(test=dict(split="test", every=100))
    config.train = dict(epochs=40.0, log_every=20, checkpoint_every=200)
    if options.smoke:
        config.data.batch_size = 16
        config.train = dict(steps=4, log_every=2)
        config.evals.test.every = 2
        config.optim.schedule = dict(name="constant")
    return config
