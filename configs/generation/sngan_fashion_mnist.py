"""SNGAN on Fashion-MNIST at 32x32 pixels: spectral norms in place of batch norms in the critic.

Miyato et al. 2018, "Spectral normalization for generative adversarial networks",
https://arxiv.org/abs/1802.05957: hinge loss, Adam with learning rate 2e-4, b1 0 and b2 0.9, five
steps of the discriminator for one of the generator's (setting C); half the paper's width.

    python launch.py --config configs/generation/sngan_fashion_mnist.py --workdir runs/sngan
    ... --config configs/generation/sngan_fashion_mnist.py:judge=runs/fashion      # with figures

`judge=` is the workdir of configs/classification/cnn_fashion_mnist.py.

Not measured yet beyond its smoke run: a step is 36 GFLOP, so that 20,000 are a GPU's work.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg

FOLDERS = ("/usr/share/datasets/fashion-mnist", "data/fashion-mnist")


def get_config(arg: str = "") -> ConfigDict:
    """`width=32` (64 in the paper), `critic_steps=5`, `steps=20000`, `conditional`, `judge=WORKDIR`
    of a classifier, `smoke`."""
    options = parse_arg(
        arg, width=32, critic_steps=5, steps=20000, conditional=False, judge="", smoke=False
    )
    config = ConfigDict()
    config.seed = 0
    config.model = dict(
        name="sngan", image_size=32, channels=1, width=options.width,
        conditional=options.conditional,
    )  # fmt: skip
    config.task = dict(name="gan", loss_name="hinge")
    config.data = dict(
        name="idx",
        path=FOLDERS,
        options=dict(class_names="fashion_mnist"),
        image_size=32,
        batch_size=64,
    )
    config.optim = dict(name="adam", lr=2e-4, options=dict(b1=0.0, b2=0.9))
    if options.critic_steps > 1:
        config.optim.groups = (("generator/.*", dict(every=options.critic_steps)), (".*", {}))
    config.ema = dict(decay=0.999)
    samples = dict(split="test", every=2000, evaluator="samples", options=dict(count=64))
    config.evals = dict(samples=samples)
    config.train = dict(steps=options.steps, log_every=100, checkpoint_every=2000, monitor="")
    if options.judge:
        judge = dict(judge=options.judge)
        config.evals.test = dict(split="test", every=2000, evaluator="generated", options=judge)
        config.train.update(monitor="test/frechet_distance", monitor_mode="min")
    if options.smoke:
        config.model.update(image_size=16, width=2)
        config.data = dict(name="digits", image_size=16, batch_size=8)
        config.optim.groups = (("generator/.*", dict(every=2)), (".*", {}))
        config.evals.samples.update(every=4, options=dict(count=4))
        config.train = dict(steps=4, log_every=2, monitor="")
    return config
