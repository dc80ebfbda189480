"""GANs on a ring of eight Gaussians: which loss finds all eight modes."""

from ml_collections import ConfigDict

from cvjax.config import parse_arg

# loss_name, factor of the gradient penalty, bound of the critic's weights, critic's steps, and the
# learning rate with Adam's b1 and b2.
LOSSES = {
    "wgan_gp": ("wasserstein", 0.1, 0.0, 5),
    "wgan": ("wasserstein", 0.0, 0.1, 5),
    "lsgan": ("least_squares", 0.0, 0.0, 1),
    "minimax": ("minimax", 0.0, 0.0, 1),
    "non_saturating": ("non_saturating", 0.0, 0.0, 1),
    "hinge": ("hinge", 0.0, 0.0, 1),
}


def get_config(arg: str = "") -> ConfigDict:
    options = parse_arg(arg, loss="wgan_gp", seed=0, steps=10000, smoke=False)
    loss_name, penalty, limit, critic_steps = LOSSES[options.loss]
    config = ConfigDict()
    config.seed = options.seed
    config.model = dict(name="mlp_gan", hidden=(128, 128, 128))
    config.task = dict(name="gan", loss_name=loss_name, gradient_penalty=penalty)
    config.data = dict(name="mixture", batch_size=256)
    config.optim = dict(name="adam", lr=5e-4, options=dict(b1=0.5, b2=0.9))
    critic = dict(clip_weights=limit) if limit else {}
    if critic_steps > 1:
        config.optim.groups = (("generator/.*", dict(every=critic_steps)), (".*", critic))
    config.ema = dict(decay=0.99)
    config.evals = dict(
        test=dict(split="test", every=1000, evaluator="mode_coverage"),
    )
    config.train = dict(steps=options.steps, log_every=500, monitor="")
    if options.smoke:
        config.model.hidden = (8,)
        config.data.batch_size = 16
        config.train = dict(steps=4, log_every=2, monitor="")
    return config
