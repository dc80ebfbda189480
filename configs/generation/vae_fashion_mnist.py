"""A variational autoencoder of Fashion-MNIST: 60,000 + 10,000 images of 28x28.

Kingma and Welling 2014, "Auto-encoding variational Bayes", https://arxiv.org/abs/1312.6114.
Bernoulli likelihood of dynamically binarised images: each pixel is 1 with its grey as the
probability, drawn anew in every epoch, in evaluation by a key made of the image.

    python launch.py --config configs/generation/vae_fashion_mnist.py --workdir runs/vae_fashion
    ... --config configs/generation/vae_fashion_mnist.py:conditional     # given the label
    ... --config configs/generation/vae_fashion_mnist.py:samples=5       # trained for IWAE's bound

`nll_elbo` is in nats an image; the entry `bound` of `evals` measures the tighter
importance-weighted bound of 64 latents at the end. 1,091,920 parameters. Measured, the first
command, seed 0, over all 10,000 test images: negative ELBO 236.73 nats an image (reconstruction
220.78, KL 15.95; 0.436 bits a pixel), importance-weighted bound 234.19; 7 min 44 s on 2 CPU cores,
AMD EPYC, that others were using. The others were not run.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg

FOLDERS = ("/usr/share/datasets/fashion-mnist", "data/fashion-mnist")
AT_THE_END = 10**9  # the end of a run always counts


def get_config(arg: str = "") -> ConfigDict:
    """`epochs=30`, `conditional`, `samples=1` (more train IWAE's bound), `smoke`."""
    options = parse_arg(arg, epochs=30, conditional=False, samples=1, smoke=False)
    config = ConfigDict()
    config.seed = 0
    config.model = dict(
        name="vae",
        image_shape=(28, 28, 1),
        latent=32,
        condition_classes=10 if options.conditional else 0,
    )
    config.task = dict(
        name="vae",
        objective="iwae" if options.samples > 1 else "elbo",
        samples=options.samples,
    )
    config.data = dict(
        name="idx", path=FOLDERS, options=dict(class_names="fashion_mnist"), batch_size=128
    )
    config.optim = dict(name="adam", lr=1e-3, schedule=dict(name="cosine", warmup=0.5))
    config.ema = dict(decay=0.998)
    drawn = {
        name: dict(split="test", every=2345, evaluator="samples", options=dict(draw=draw, count=n))
        for name, draw, n in (
            ("samples", "sample", 40),
            ("reconstructions", "reconstruct", 8),
            ("traversal", "traverse", 64),
        )
    }
    config.evals = dict(
        test=dict(split="test"),
        bound=dict(split="test", every=AT_THE_END, evaluator="importance_bound"),
        **drawn,
    )
    config.train = dict(
        epochs=float(options.epochs), log_every=100, monitor="test/nll_elbo", monitor_mode="min"
    )
    if options.smoke:
        config.model.update(image_shape=(8, 8, 1), latent=4, widths=(16,))
        config.data = dict(name="digits", batch_size=16)
        config.optim.schedule = dict(name="constant")
        config.train.update(steps=2, log_every=1)
        for entry in config.evals.values():
            entry.every = 2
        config.evals.bound.options = dict(samples=2)
    return config
