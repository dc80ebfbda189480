"""A variational autoencoder of scikit-learn's handwritten digits, 16x16 and binary: nothing to
download.

Kingma and Welling 2014, "Auto-encoding variational Bayes", https://arxiv.org/abs/1312.6114. The
same binary images as in configs/generation/pixelcnn_digits.py, which says how they are made.

    python launch.py --config configs/generation/vae_digits.py --workdir runs/vae_digits
    ... --config configs/generation/vae_digits.py:conditional       # given the label

Measured, the first command, seed 0, on the 360 test images: negative ELBO 46.92 nats an image, and
39.70 by the importance-weighted bound of 256 latents (1,437 training images are few: the encoder
overfits more than the decoder); 5 min 46 s on 2 CPU cores, AMD EPYC, that others were using. The
other was not run.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg

AT_THE_END = 10**9  # the end of a run always counts


def get_config(arg: str = "") -> ConfigDict:
    """`conditional`, `epochs=150`, `smoke`."""
    options = parse_arg(arg, conditional=False, epochs=150, smoke=False)
    config = ConfigDict()
    config.seed = 0
    config.model = dict(
        name="vae",
        image_shape=(16, 16, 1),
        latent=16,
        widths=(256, 128),
        condition_classes=10 if options.conditional else 0,
    )
    config.task = dict(name="vae", binarize="threshold")
    config.data = dict(name="digits", image_size=16, batch_size=64)
    config.optim = dict(
        name="adam", lr=2e-3, clip_norm=10.0, schedule=dict(name="cosine", warmup=1.0)
    )
    config.ema = dict(decay=0.998)
    drawn = {
        name: dict(split="test", every=1000, evaluator="samples", options=dict(draw=draw, count=n))
        for name, draw, n in (
            ("samples", "sample", 40),
            ("reconstructions", "reconstruct", 8),
            ("traversal", "traverse", 64),
            ("interpolation", "interpolate", 16),
        )
    }
    bound = dict(
        split="test", every=AT_THE_END, evaluator="importance_bound", options=dict(samples=256)
    )
    config.evals = dict(test=dict(split="test", every=200), bound=bound, **drawn)
    config.train = dict(
        epochs=float(options.epochs), log_every=50, checkpoint_every=1000,
        monitor="test/nll_elbo", monitor_mode="min",
    )  # fmt: skip
    if options.smoke:
        config.model.update(latent=4, widths=(16,))
        config.data.batch_size = 16
        config.optim.schedule = dict(name="constant")
        config.train.update(steps=2, log_every=1)
        config.evals.test.every = 2
        bound.update(options=dict(samples=2))
        config.evals.bound = bound
    return config
