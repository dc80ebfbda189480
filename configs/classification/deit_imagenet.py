"""DeiT on ImageNet: a vision transformer trained on ImageNet alone.

Touvron et al. 2020, "Training data-efficient image transformers", https://arxiv.org/abs/2012.12877,
table 9: AdamW, learning rate 5e-4 per 512 examples, weight decay 0.05, 300 epochs, 5 of them
warm-up, cosine, label smoothing 0.1, mixup 0.8, cutmix 1.0, stochastic depth 0.1.
Published top-1: 72.2% (deit_tiny), 79.8% (deit_small), 81.8% (deit_base).

    python launch.py --config configs/classification/deit_imagenet.py --workdir runs/deit
    ... --config configs/classification/deit_imagenet.py:model=vit_small_patch16_224,dtype=bfloat16

Differs from the paper: no RandAugment, random erasing or repeated augmentation, so expect less.
ImageNet as TFDS prepares it; see resnet50_imagenet.py. Not measured here: the paper's deit_small
takes some 3 days of 8 older accelerators.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`model=deit_small_patch16_224`, `batch=1024`, `epochs=300`, `dtype=float32`, `smoke`."""
    options = parse_arg(
        arg, model="deit_small_patch16_224", batch=1024, epochs=300, dtype="float32", smoke=False
    )
    config = ConfigDict()
    config.seed = 0
    config.model = dict(
        name=options.model, num_classes=1000, image_size=224, drop_path=0.1, dtype=options.dtype
    )
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
            color_jitter=dict(brightness=0.3, contrast=0.3, saturation=0.3),
            mixup=dict(alpha=0.8),
            cutmix=dict(alpha=1.0),
        ),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        workers=8,
    )
    config.optim = dict(
        name="adamw",
        lr=5e-4 * options.batch / 512,
        weight_decay=0.05,
        decay_exempt=(".*/bias", ".*/scale", ".*_token", ".*position_embedding"),
        schedule=dict(name="cosine", warmup=5.0, end_factor=0.01),
    )
    config.evals = dict(validation=dict(split="validation"))
    config.train = dict(epochs=float(options.epochs), log_every=100, monitor="validation/accuracy")
    if options.smoke:
        config.model.update(num_classes=10, image_size=32, width=8, depth=2)
        mixing = dict(mixup=dict(alpha=0.8), cutmix=dict(alpha=1.0))
        config.data = dict(name="digits", image_size=32, channels=3, batch_size=8, augment=mixing)
        config.optim.schedule = dict(name="constant")
        config.evals.validation = dict(split="test", every=2)
        config.train = dict(steps=2, log_every=1, monitor="validation/accuracy")
    return config
