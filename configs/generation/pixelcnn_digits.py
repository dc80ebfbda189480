"""PixelCNN of scikit-learn's handwritten digits, 8x8 and binary: nothing to download.

van den Oord et al. 2016, "Conditional image generation with PixelCNN decoders",
https://arxiv.org/abs/1606.05328. The 1,797 scans are binarised dynamically: each pixel is 1 with
its grey as the probability, in evaluation by a key made of the image, so that this config and
configs/generation/vae_digits.py are judged on the same 360 binary test images.

    python launch.py --config configs/generation/pixelcnn_digits.py --workdir runs/pixelcnn_digits
    ... --config configs/generation/pixelcnn_digits.py:model=pixel_cnn       # the one of 2016a
    ... --config configs/generation/pixelcnn_digits.py:model=made            # fvbn, pixel_rnn ...

`nll` is exact, in nats an image.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg

# What each model gets besides its own defaults.
FIELDS = {
    "pixel_cnn": dict(width=64, depth=4, first_window=5, hidden=64, dropout=0.5),
    "gated_pixel_cnn": dict(width=32, depth=4, first_window=5, hidden=32, dropout=0.5),
}


def get_config(arg: str = "") -> ConfigDict:
    """`model=gated_pixel_cnn|pixel_cnn`, `epochs=100`, `smoke`."""
    options = parse_arg(arg, model="gated_pixel_cnn", epochs=100, smoke=False)
    if options.model not in FIELDS:
        raise ValueError(f"--config: model={options.model!r}; one of {[*FIELDS]}.")
    config = ConfigDict()
    config.seed = 0
    config.model = dict(name=options.model, image_shape=(8, 8, 1), **FIELDS[options.model])
    config.task = dict(name="autoregressive", binarize="dynamic")
    config.data = dict(name="digits", batch_size=64)
    config.optim = dict(
        name="adam", lr=2e-3, clip_norm=10.0, schedule=dict(name="cosine", warmup=1.0)
    )
    config.ema = dict(decay=0.998)
    config.evals = dict(
        test=dict(split="test", every=200),
        samples=dict(split="test", every=1000, evaluator="samples", options=dict(count=64)),
    )
    config.train = dict(
        epochs=float(options.epochs), log_every=50, checkpoint_every=1000, monitor="test/nll",
        monitor_mode="min",
    )  # fmt: skip
    if options.smoke:
        config.model.update(width=8, depth=2, hidden=8)
        config.data.batch_size = 16
        config.optim.schedule = dict(name="constant")
        config.train.update(steps=2, log_every=1)
        config.evals.test.every = 2
        config.evals.samples.options = dict(count=4)
    return config
