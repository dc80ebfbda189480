"""A small vision transformer on scikit-learn's handwritten digits: nothing to download.

Dosovitskiy et al. 2020, "An image is worth 16x16 words", https://arxiv.org/abs/2010.11929; 1,797
scans of 8x8 pixels enlarged to 16x16, hence 16 patches of 4 pixels; a fifth is held out.

    python launch.py --config configs/classification/vit_digits.py --workdir runs/vit_digits

A few minutes on a laptop CPU. Accuracy not measured yet.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`width=64`, `depth=6`, `epochs=60`, `smoke`."""
    options = parse_arg(arg, width=64, depth=6, epochs=60, smoke=False)
    config = ConfigDict()
    config.seed = 0
    config.model = dict(
        name="vit_tiny_patch4_32",
        image_size=16,
        width=options.width,
        depth=options.depth,
        head_width=16,
        dropout=0.1,
    )
    config.task = dict(name="classification")
    config.data = dict(
        name="digits",
        image_size=16,
        batch_size=64,
        augment=dict(rotate=dict(degrees=10.0), translate=dict(fraction=0.08)),
        mean=0.5,
        std=0.5,
    )
    config.optim = dict(
        name="adamw",
        lr=2e-3,
        weight_decay=0.05,
        decay_exempt=(".*/bias", ".*/scale", ".*_token", ".*position_embedding"),
        clip_norm=1.0,
        schedule=dict(name="cosine", warmup=5.0),
    )
    config.evals = dict(test=dict(split="test", every=200))
    config.train = dict(epochs=float(options.epochs), log_every=20, checkpoint_every=200)
    if options.smoke:
        config.model.depth = 1
        config.data.batch_size = 16
        config.train = dict(steps=4, log_every=2)
        config.evals.test.every = 2
        config.optim.schedule = dict(name="constant")
    return config
