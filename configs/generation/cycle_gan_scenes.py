"""CycleGAN between grey and coloured scenes, never shown as pairs; nothing to download.

Zhu et al. 2017, "Unpaired image-to-image translation using cycle-consistent adversarial networks",
https://arxiv.org/abs/1703.10593; its LSGAN loss, cycle weight 10, identity weight 5, pool of 50 and
Adam (learning rate 2e-4, b1 0.5, falling to 0), narrower, with 3 blocks and at 48 pixels.

    python launch.py --config configs/generation/cycle_gan_scenes.py --workdir runs/cycle_gan
    ... --config configs/generation/cycle_gan_scenes.py:use=edges

The first half of every batch is made grey (or edges, ...) and is one set, the second half the
other. samples/samples_step_*.png: one of the first set, its translation; one of the second, and
what comes back of it.

Measured, seed 0, 2 CPU cores (AMD EPYC): 2,500 steps in 7.2 minutes. On the 500 test scenes what
comes back there and back again differs by 0.129 a value (of [0, 1]; 0.157 after 1,000 steps),
translations from the true colours by 0.187, the grey picture by 0.133: colours come, not the right
ones, which nothing says. Digits keep their places and lose their shapes; a wider network and more
steps are a GPU's work.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`use=grey` (or edges, low_resolution, masked), `size=48`, `width=16` (64 in the paper),
    `blocks=3`, `steps=2500`, `smoke`."""
    options = parse_arg(arg, use="grey", size=48, width=16, blocks=3, steps=2500, smoke=False)
    config = ConfigDict()
    config.seed = 0
    config.model = dict(
        name="cycle_gan",
        channels=3,
        width=options.width,
        blocks=options.blocks,
        patch_layers=2 if options.size < 128 else 3,
    )
    config.task = dict(name="cycle_gan", condition=options.use)
    config.data = dict(name="scenes", image_size=options.size, channels=3, batch_size=8)
    config.optim = dict(
        name="adam",
        lr=2e-4,
        options=dict(b1=0.5, b2=0.999),
        schedule=dict(name="cosine"),
    )
    config.evals = dict(
        test=dict(split="test", every=1000),
        samples=dict(
            split="test",
            every=1000,
            evaluator="samples",
            options=dict(draw="translation", count=8),
        ),
    )
    config.train = dict(
        steps=options.steps,
        log_every=50,
        checkpoint_every=1000,
        monitor="test/l1",
        monitor_mode="min",
    )
    if options.smoke:
        config.model.update(width=2, blocks=1, patch_layers=1)
        config.task.pool_size = 3
        config.data.update(image_size=16, batch_size=4, options=dict(num_examples=8))
        config.optim.schedule = dict(name="constant")
        config.evals.test.every = 2
        config.evals.samples.update(every=2, options=dict(draw="translation", count=2))
        config.train = dict(steps=2, log_every=1, monitor="test/l1", monitor_mode="min")
    return config
