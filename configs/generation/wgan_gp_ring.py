"""GANs on a ring of eight Gaussians: which loss finds all eight modes.

Gulrajani et al. 2017, "Improved training of Wasserstein GANs", https://arxiv.org/abs/1704.00028
(figure 2; their toy code's penalty factor is 0.1 as here, beside 10 for pictures). Dense layers,
points of the plane; other losses by `loss=`, each with the optimizer that its paper has.

    python launch.py --config configs/generation/wgan_gp_ring.py --workdir runs/ring
    ... --config configs/generation/wgan_gp_ring.py:loss=minimax,lr=0.002,seed=1

Measured, seeds 0 and 1: 8 of 8 modes, 73% and 60% of 2,500 points of the averaged generator of high
quality, 27 s of training each (6,000 steps) on 2 of the cores of an Intel Xeon machine. The other
losses cover 8 of 8 too at their learning rates; docs/generation_adversarial.md has their figures,
and what minimax loses at four times the rate.

samples/test_step_*.png shows the points; `test/modes` counts the modes with a point within three
standard deviations, of 2,500 points, `test/high_quality` the points that are that near.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg

ADAM = dict(name="adam", lr=5e-4, options=dict(b1=0.5, b2=0.9))
# Arjovsky et al. 2017: momentum makes a clipped critic unstable.
RMSPROP = dict(name="rmsprop", lr=1e-3)
# loss_name, factor of the gradient penalty, bound of the critic's weights (0: none), the critic's
# steps for one of the generator's, optimizer.
LOSSES = {
    "wgan_gp": ("wasserstein", 0.1, 0.0, 5, ADAM),
    "wgan": ("wasserstein", 0.0, 0.1, 5, RMSPROP),
    "lsgan": ("least_squares", 0.0, 0.0, 1, ADAM),
    "minimax": ("minimax", 0.0, 0.0, 1, ADAM),
    "non_saturating": ("non_saturating", 0.0, 0.0, 1, ADAM),
    "hinge": ("hinge", 0.0, 0.0, 1, ADAM),
}


def get_config(arg: str = "") -> ConfigDict:
    """`loss=wgan_gp` (or wgan, lsgan, minimax, non_saturating, hinge), `lr` (0: that of the loss),
    `seed=0`, `steps=6000`, `grid` (25 modes), `smoke`."""
    options = parse_arg(arg, loss="wgan_gp", lr=0.0, seed=0, steps=6000, grid=False, smoke=False)
    if options.loss not in LOSSES:
        raise ValueError(f"loss={options.loss!r}: use one of {', '.join(LOSSES)}.")
    loss_name, penalty, bound, critic_steps, optimizer = LOSSES[options.loss]
    config = ConfigDict()
    config.seed = options.seed
    config.model = dict(name="mlp_gan", hidden=(128, 128, 128))
    config.task = dict(name="gan", loss_name=loss_name, gradient_penalty=penalty)
    config.data = dict(name="mixture", batch_size=256)
    if options.grid:
        config.data.options = dict(layout="grid", modes=25)
    config.optim = dict(optimizer)
    if options.lr:
        config.optim.lr = options.lr
    if critic_steps > 1:
        critic = dict(clip_weights=bound) if bound else {}
        config.optim.groups = (("generator/.*", dict(every=critic_steps)), (".*", critic))
    config.ema = dict(decay=0.99)
    config.evals = dict(test=dict(split="test", every=1000, evaluator="mode_coverage"))
    config.train = dict(
        steps=options.steps, log_every=500, checkpoint_every=2000, monitor="test/high_quality"
    )
    if options.smoke:
        config.model.hidden = (8,)
        config.data.batch_size = 16
        config.evals.test.update(every=4, options=dict(count=50))
        config.train = dict(steps=4, log_every=2, monitor="test/high_quality")
    return config
