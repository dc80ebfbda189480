"""PixelCNN of scikit-learn's handwritten digits, 16x16 and binary: nothing to download.

van den Oord et al. 2016, "Conditional image generation with PixelCNN decoders",
https://arxiv.org/abs/1606.05328. The 1,797 scans of 8x8 are enlarged to 16x16 and cut at a half, so
that this config and configs/generation/vae_digits.py are judged on the same binary test images.

    python launch.py --config configs/generation/pixelcnn_digits.py --workdir runs/pixelcnn_digits
    ... --config configs/generation/pixelcnn_digits.py:model=pixel_cnn       # the one of 2016a
    ... --config configs/generation/pixelcnn_digits.py:model=row_lstm        # or diagonal_bilstm
    ... --config configs/generation/pixelcnn_digits.py:model=fvbn            # or made
    ... --config configs/generation/pixelcnn_digits.py:conditional           # given the label

`nll` is exact, in nats an image. 51,777 parameters. Measured, seed 0, on the 360 test images, by
`python -m experiments --run oord2016_digits` (2 CPU cores, AMD EPYC, that others were using;
minutes of the whole commands): 39.46 nats (0.222 bits a pixel) in 5.5 minutes; 39.93 with
`epochs=20`. `model=row_lstm,epochs=8`: 39.33 in 1.8, `model=diagonal_bilstm,epochs=6`: 38.74 in
3.7, `model=fvbn,epochs=30`: 38.90 and `model=made,epochs=20`: 36.95 in 0.6 each. The VAE of the
other config: 46.92 by its ELBO, 39.70 by the bound of 256 latents. Places are fixed on these
digits, and FVBN and MADE have weights of their own for every place.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg

# What each model gets besides its own defaults.
FIELDS = {
    "gated_pixel_cnn": dict(width=32, depth=3, first_window=5, hidden=32, dropout=0.2),
    "pixel_cnn": dict(width=64, depth=4, first_window=7, hidden=32, dropout=0.1),
    "row_lstm": dict(width=48, depth=3, first_window=5, hidden=24),
    "diagonal_bilstm": dict(width=48, depth=3, first_window=5, hidden=24),
    "fvbn": dict(),
    "made": dict(hidden=(500,)),
}


def get_config(arg: str = "") -> ConfigDict:
    """`model=gated_pixel_cnn`, `conditional` (that model alone), `epochs=40`, `smoke`."""
    options = parse_arg(arg, model="gated_pixel_cnn", conditional=False, epochs=40, smoke=False)
    if options.model not in FIELDS:
        raise ValueError(f"--config: model={options.model!r}; one of {[*FIELDS]}.")
    if options.conditional and options.model != "gated_pixel_cnn":
        raise ValueError(f"--config: model={options.model} is given no label; gated_pixel_cnn is.")
    config = ConfigDict()
    config.seed = 0
    config.model = dict(name=options.model, image_shape=(16, 16, 1), **FIELDS[options.model])
    if options.conditional:
        config.model.condition_classes = 10
    config.task = dict(name="autoregressive", binarize="threshold")
    config.data = dict(name="digits", image_size=16, batch_size=32)
    config.optim = dict(
        name="adam", lr=3e-3, clip_norm=10.0, schedule=dict(name="cosine", warmup=1.0)
    )
    config.ema = dict(decay=0.99)
    config.evals = dict(
        test=dict(split="test", every=100),
        samples=dict(split="test", every=400, evaluator="samples", options=dict(count=36)),
    )
    config.train = dict(
        epochs=float(options.epochs), log_every=20, checkpoint_every=200, monitor="test/nll",
        monitor_mode="min",
    )  # fmt: skip
    if options.smoke:
        config.model.image_shape = (8, 8, 1)
        config.data.update(image_size=8, batch_size=16)
        if "depth" in config.model:
            config.model.update(width=8, depth=1, hidden=8)
        config.optim.schedule = dict(name="constant")
        config.train.update(steps=2, log_every=1)
        config.evals.test.every = 2
        config.evals.samples.options = dict(count=4)
    return config
