"""DCGAN on Fashion-MNIST: 60,000 pictures of 28x28.

Radford et al. 2016, "Unsupervised representation learning with deep convolutional generative
adversarial networks", https://arxiv.org/abs/1511.06434, with its Adam (learning rate 2e-4, b1 0.5).

    python launch.py --config configs/generation/dcgan_fashion_mnist.py --workdir runs/dcgan
    ... --config configs/generation/dcgan_fashion_mnist.py:judge=runs/fashion      # with figures
    ... --config configs/generation/dcgan_fashion_mnist.py:features=fetch:efficientnet_lite0
    ... --config configs/generation/dcgan_fashion_mnist.py:conditional

`judge=` is the workdir of configs/classification/cnn_fashion_mnist.py; `features=` a network whose
features make distances, precision and recall at the end, of 2,000 pictures a side. 898,304
parameters. Measured with `judge=runs/fashion,steps=6000` (the judge has 92.98%) on one H200 in 1.4
minutes: 5,000 samples are named with a mean confidence of 0.788, classes between 6.3% and 14.8% of
them (entropy 0.986 of 1); 0.694 after 2,000 steps and 0.758 after 4,000, so still rising. With
`width=32,lr=0.0005,judge=runs/fashion`, the default 10,000 steps: 0.807, classes between 5.4% and
15.0%, 21.7 minutes with all evaluations on 2 CPU cores, AMD EPYC, that others were using
(`python -m experiments --run radford2016_fashion`). The default width at the paper's rate has not
been run for 10,000 steps.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg

FOLDERS = ("/usr/share/datasets/fashion-mnist", "data/fashion-mnist")
# T-shirt/top, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle boot.
PULLOVER, T_SHIRT, DRESS = 2, 0, 3


def get_config(arg: str = "") -> ConfigDict:
    """`steps=10000`, `width=64`, `lr=0.0002`, `seed=0`, `conditional`, `judge=WORKDIR` of a
    classifier, `features=fetch:NAME` of `python -m cvjax.pretrained list`, `smoke`."""
    options = parse_arg(
        arg, steps=10000, width=64, lr=2e-4, seed=0, conditional=False, judge="", features="",
        smoke=False,
    )  # fmt: skip
    config = ConfigDict()
    config.seed = options.seed
    config.model = dict(
        name="dcgan",
        image_size=28,
        channels=1,
        width=options.width,
        conditional=options.conditional,
    )
    config.task = dict(name="gan")
    config.data = dict(
        name="idx",
        path=FOLDERS,
        options=dict(class_names="fashion_mnist"),
        batch_size=64,
    )
    config.optim = dict(name="adam", lr=options.lr, options=dict(b1=0.5, b2=0.999))
    config.ema = dict(decay=0.999)
    config.evals = dict(
        samples=dict(split="test", every=1000, evaluator="samples", options=dict(count=64)),
        interpolation=dict(
            split="test",
            every=options.steps,
            evaluator="samples",
            options=dict(draw="interpolation", count=64),
        ),
    )
    if options.judge:
        judge = dict(judge=options.judge)
        config.evals.test = dict(split="test", every=2000, evaluator="generated", options=judge)
        config.evals.arithmetic = dict(
            split="test",
            every=options.steps,
            evaluator="latent_arithmetic",
            options=dict(plus=(PULLOVER, DRESS), minus=(T_SHIRT,), **judge),
        )
    if options.features:
        config.evals.features = dict(
            split="test",
            every=options.steps,
            evaluator="generated",
            options=dict(judge=options.features, count=2000, real_count=2000, batch_size=100),
        )
    config.train = dict(steps=options.steps, log_every=100, checkpoint_every=1000, monitor="")
    if options.judge:
        config.train.update(monitor="test/frechet_distance", monitor_mode="min")
    if options.smoke:
        config.model.width = 4
        config.data = dict(name="digits", image_size=28, batch_size=8)
        config.evals = dict(
            samples=dict(split="test", every=4, evaluator="samples", options=dict(count=4))
        )
        config.train = dict(steps=4, log_every=2, monitor="")
    return config
