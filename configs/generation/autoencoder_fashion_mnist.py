"""An autoencoder of Fashion-MNIST, and its encoder as a classifier that learns from few labels.

Hinton and Salakhutdinov 2006, "Reducing the dimensionality of data with neural networks",
https://doi.org/10.1126/science.1127647. Two stages, one command: all 60,000 training images but
those with labels, through a code of 32 values and back, mean squared error; then the encoder with a
linear head, trained as a whole on `labels` labelled images, as many of each class.

    python launch.py --config configs/generation/autoencoder_fashion_mnist.py --workdir runs/coder
    ... --config configs/generation/autoencoder_fashion_mnist.py:variant=scratch  # no first stage
    ... --config configs/generation/autoencoder_fashion_mnist.py:variant=autoencoder  # no second
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg

FOLDERS = ("/usr/share/datasets/fashion-mnist", "data/fashion-mnist")
VARIANTS = ("few_labels", "scratch", "autoencoder")
TRAINING_IMAGES = 60_000
AT_THE_END = 10**9  # the end of a run always counts


def get_config(arg: str = "") -> ConfigDict:
    """`variant=few_labels|scratch|autoencoder`, `labels=100`, `epochs=10` (of the first stage),
    `steps=400` (of the second), `seed=0` (of the split, too), `smoke`."""
    options = parse_arg(
        arg, variant="few_labels", labels=100, epochs=10, steps=400, seed=0, smoke=False
    )
    if options.variant not in VARIANTS:
        raise ValueError(f"--config: variant={options.variant!r}; one of {VARIANTS}.")
    config = ConfigDict()
    config.seed = options.seed
    held_out = dict(validation_fraction=options.labels / TRAINING_IMAGES, seed=options.seed)
    config.data = dict(
        name="idx",
        path=FOLDERS,
        options=dict(class_names="fashion_mnist", **held_out),
        batch_size=128,
    )
    steps = options.steps
    if options.smoke:
        config.data = dict(
            name="digits", image_size=28, options=dict(validation_fraction=0.1), batch_size=16
        )
        steps = 2
    config.optim = dict(name="adam", lr=1e-3, schedule=dict(name="cosine"))
    config.evals = dict(test=dict(split="test", every=AT_THE_END if steps > 2 else 2))
    learn = dict(
        model=dict(name="autoencoder", image_shape=(28, 28, 1)),
        task=dict(name="autoencoder"),
        evals=dict(
            reconstructions=dict(
                split="test",
                every=2345,
                evaluator="samples",
                options=dict(draw="reconstruct", count=8),
            )
        ),
        train=dict(epochs=float(options.epochs), monitor="test/squared_error", monitor_mode="min"),
    )
    classify = dict(
        model=dict(name="coder_classifier", num_classes=10),
        task=dict(name="classification"),
        data=dict(train_split="validation", batch_size=16 if options.smoke else 50),
        train=dict(steps=steps, monitor="test/accuracy", monitor_mode="max"),
    )
    if options.smoke:
        learn["train"]["steps"] = steps
    config.train = dict(log_every=50 if steps > 2 else 1)
    _change(config, classify if options.variant == "scratch" else learn)
    if options.variant == "few_labels":
        del config.evals["reconstructions"]  # of the first stage alone
        classify["train"]["init_rules"] = (("(encoder|code)/.*", r"\g<0>"), ("head/.*", None))
        first = dict(evals=learn["evals"])
        config.stages = dict(stage1_autoencoder=first, stage2_few_labels=classify)
    return config


def _change(config: ConfigDict, sections: dict) -> None:
    for section, fields in sections.items():
        config[section] = ConfigDict({**config.get(section, {}), **fields})
