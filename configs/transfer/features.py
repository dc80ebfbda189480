"""Cached features: a frozen base reads the stamps once, a classifier learns from what is kept.

Feature extraction without augmentation, the first of the two ways of Chollet et al. 2017 ("Deep
Learning with Python", section 5.3). The base runs once over each split, its pooled features are
kept in files, and later runs with the same base, size and split train within seconds:

    apt-get install --no-install-recommends tuxpaint-stamps-default
    python launch.py --config configs/transfer/features.py --workdir runs/features
    ... --config configs/transfer/features.py:model=squeezenet1_1,hidden=256
    ... --config configs/transfer/features.py:feature=stride8   # what an early layer is good for
    ... --config configs/transfer/features.py:data=digits       # 8x8 scans, enlarged to 96
    ... --config configs/transfer/features.py:path=FOLDER       # your own class folders

`model` is one of `configs/transfer/stamps.py`, with the same weights. `random` leaves them random,
to see what the architecture alone gives. `feature` is any of the base's maps, averaged over their
places, to see where features begin to be of use and where they begin to be about ImageNet's classes
alone. `hidden` puts a layer of that width, with dropout of a half, in front of the head, as the
book does.
Measured, one seed, 2 cores (AMD EPYC) shared with much other work: the default reads 76.1% of the
test split after 30 epochs of half a second each; the first run computes features for a minute and
a half besides. At 64 pixels, after 8 epochs: squeezenet1_1 48.9%, efficientnet_lite0 60.6%.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg
from cvjax.pretrained.fetch import WEIGHTS

# The name of the weights.
BASES = {
    "efficientnet_lite0": "efficientnet_lite0",
    "mobilenet_v2": "mobilenet_v2_features",
    "squeezenet1_1": "squeezenet1_1",
}


def get_config(arg: str = "") -> ConfigDict:
    """`model`, `size=96`, `batch=32`, `epochs=30`, `hidden=0`, `random`, `feature=pooled`,
    `data=stamps|digits`, `path` (class folders instead), `seed=0` (of the split, too), `smoke`."""
    options = parse_arg(
        arg,
        model="efficientnet_lite0",
        size=96,
        batch=32,
        epochs=30,
        hidden=0,
        random=False,
        feature="pooled",
        data="stamps",
        path="",
        seed=0,
        smoke=False,
    )
    if options.model not in BASES:
        raise ValueError(f"--config: model={options.model!r}; one of {[*BASES]}.")
    if options.data not in ("stamps", "digits"):
        raise ValueError(f"--config: data={options.data!r}; stamps or digits, or path=FOLDER.")
    weights = BASES[options.model]
    config = ConfigDict()
    config.seed = options.seed
    config.model = dict(name="linear")
    if options.hidden:
        config.model = dict(name="mlp", hidden=(options.hidden,), dropout=0.5)
    config.task = dict(name="classification")
    features = dict(model=dict(name=options.model), feature=options.feature, average=True)
    if not options.random:
        features["init_from"] = f"fetch:{weights}"
        features["init_rules"] = (("head/.*", None), (".*", r"\g<0>"))
    config.data = dict(
        name="folder" if options.path else options.data,
        path=options.path,
        options=dict(seed=options.seed, test_fraction=0.3),
        image_size=options.size,
        channels=3,
        batch_size=options.batch,
        mean=WEIGHTS[weights].mean,
        std=WEIGHTS[weights].std,
        features=features,
    )
    if options.data == "digits":
        config.data.image_size = 8  # as they are
        config.data.upsample = dict(size=options.size)
    config.optim = dict(name="adam", lr=1e-3, schedule=dict(name="cosine"))
    config.evals = dict(test=dict(split="test", every=200))
    config.train = dict(epochs=float(options.epochs), log_every=20, monitor="test/accuracy")
    if options.smoke:
        base = dict(name="vgg11_bn", width=4, stage_sizes=(1, 1), hidden=None)
        config.data.update(name="digits", path="", image_size=16)
        config.data.options = {}
        config.data.features = dict(model=base)
        config.data.upsample = None
        config.train = dict(steps=4, log_every=2, monitor="test/accuracy")
        config.evals.test.every = 2
    return config
