"""ConvNeXt on ImageNet.

Liu et al. 2022, "A ConvNet for the 2020s", https://arxiv.org/abs/2201.03545, table 5: AdamW,
learning rate 4e-3 at 4096 examples, weight decay 0.05, 300 epochs, 20 of them warm-up, cosine,
label smoothing 0.1, mixup 0.8, cutmix 1.0, stochastic depth 0.1 (tiny), 0.4 (small), 0.5 (base),
averaged weights 0.9999. Published top-1: 82.1% (tiny), 83.1% (small), 83.8% (base).

    python launch.py --config configs/classification/convnext_imagenet.py --workdir runs/convnext
    ... --config configs/classification/convnext_imagenet.py:model=convnext_base,dtype=bfloat16

Differs from the paper: no RandAugment and no random erasing, so expect less. `accumulate` makes
a step of several batches where 4096 examples do not fit. ImageNet as TFDS prepares it; see
resnet50_imagenet.py. Not measured here: it takes days of 8 accelerators.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`model=convnext_tiny`, `batch=4096`, `accumulate=1`, `epochs=300`, `dtype`, `smoke`."""
    options = parse_arg(
        arg,
        model="convnext_tiny",
        batch=4096,
        accumulate=1,
        epochs=300,
        dtype="float32",
        smoke=False,
    )
    config = ConfigDict()
    config.seed = 0
    config.model = dict(name=options.model, num_classes=1000, dtype=options.dtype)
    config.task = dict(name="classification", label_smoothing=0.1)
    config.data = dict(
        name="tfds/imagenet2012",
        image_size=224,
        channels=3,
        batch_size=options.batch,
        train_view=dict(name="random_resized_crop", scale=(0.08, 1.0)),
        eval_view=dict(name="resize_center_crop", resize=256),
        augment=dict(
            horizontal_flip=dict(p=0.5),
            mixup=dict(alpha=0.8),
            cutmix=dict(alpha=1.0),
        ),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        workers=8,
    )
    config.optim = dict(
        name="adamw",
        lr=4e-3 * options.batch / 4096,
        weight_decay=0.05,
        decay_exempt=(".*/bias", ".*/scale", ".*layer_scale"),
        accumulate=options.accumulate,
        schedule=dict(name="cosine", warmup=20.0),
    )
    config.ema = dict(decay=0.9999)
    config.evals = dict(validation=dict(split="validation"))
    config.train = dict(epochs=float(options.epochs), log_every=100, monitor="validation/accuracy")
    if options.smoke:
        config.model.update(num_classes=10, stage_sizes=(1, 1), width=8)
        mixing = dict(mixup=dict(alpha=0.8), cutmix=dict(alpha=1.0))
        config.data = dict(name="digits", image_size=32, channels=3, batch_size=8, augment=mixing)
        config.optim.schedule = dict(name="constant")
        config.evals.validation = dict(split="test", every=2)
        config.train = dict(steps=2, log_every=1, monitor="validation/accuracy")
    return config
