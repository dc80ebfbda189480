"""Swin transformers on ImageNet.

Liu et al. 2021, "Swin transformer: hierarchical vision transformer using shifted windows",
https://arxiv.org/abs/2103.14030, appendix A2.1: AdamW, learning rate 1e-3 at 1024 examples, weight
decay 0.05, gradients clipped to norm 1, 300 epochs, 20 of them warm-up, cosine, label smoothing
0.1, mixup 0.8, cutmix 1.0, stochastic depth 0.2 (swin_t), 0.3 (swin_s), 0.5 (swin_b).
Published top-1: 81.3% (swin_t), 83.0% (swin_s), 83.5% (swin_b).

    python launch.py --config configs/classification/swin_imagenet.py --workdir runs/swin
    ... --config configs/classification/swin_imagenet.py:model=swin_s,dtype=bfloat16

Differs from the paper: no RandAugment and no random erasing, so expect less. ImageNet as TFDS
prepares it; see resnet50_imagenet.py. Not measured here: it takes days of 8 accelerators.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`model=swin_t`, `batch=1024`, `epochs=300`, `dtype=float32|bfloat16`, `smoke`."""
    options = parse_arg(arg, model="swin_t", batch=1024, epochs=300, dtype="float32", smoke=False)
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
            color_jitter=dict(brightness=0.4, contrast=0.4, saturation=0.4),
            mixup=dict(alpha=0.8),
            cutmix=dict(alpha=1.0),
        ),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        workers=8,
    )
    config.optim = dict(
        name="adamw",
        lr=1e-3 * options.batch / 1024,
        weight_decay=0.05,
        decay_exempt=(".*/bias", ".*/scale", ".*relative_position_bias"),
        clip_norm=1.0,
        schedule=dict(name="cosine", warmup=20.0, end_factor=0.01),
    )
    config.evals = dict(validation=dict(split="validation"))
    config.train = dict(epochs=float(options.epochs), log_every=100, monitor="validation/accuracy")
    if options.smoke:
        config.model.update(num_classes=10, stage_sizes=(1, 2), width=8, window=4)
        mixing = dict(mixup=dict(alpha=0.8), cutmix=dict(alpha=1.0))
        config.data = dict(name="digits", image_size=32, channels=3, batch_size=8, augment=mixing)
        config.optim.schedule = dict(name="constant")
        config.evals.validation = dict(split="test", every=2)
        config.train = dict(steps=2, log_every=1, monitor="validation/accuracy")
    return config
