"""ResNet-50 on ImageNet with the recipe that made it a baseline.

He et al. 2015, https://arxiv.org/abs/1512.03385; large batches after Goyal et al. 2017,
"Accurate, large minibatch SGD", https://arxiv.org/abs/1706.02677: learning rate 0.1 per 256
examples, five epochs of warm-up, divided by 10 at epochs 30, 60 and 80, 90 epochs, Nesterov
momentum 0.9, weight decay 1e-4 (the course's 1e-5 is a slip), the last norm of every block starts
at zero.
Published: 76.4% top-1 (Goyal et al., table 1, 256 examples a batch).

    python launch.py --config configs/classification/resnet50_imagenet.py --workdir runs/r50
    ... --config configs/classification/resnet50_imagenet.py:batch=1024,dtype=bfloat16
    ... --config.data.name=folder --config.data.path=FOLDER   # train/<class>/*, val/<class>/*

ImageNet as TFDS prepares it (it must be downloaded by hand, see the TFDS catalogue):
`pip install -e '.[tensorflow]' && tfds build imagenet2012 --file_format=array_record`. Not run
here: it takes about 8 GPU-days of an older and some 12 hours of a recent accelerator.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`depth=50`, `batch=256`, `epochs=90`, `dtype=float32|bfloat16`, `smoke`."""
    options = parse_arg(arg, depth=50, batch=256, epochs=90, dtype="float32", smoke=False)
    config = ConfigDict()
    config.seed = 0
    config.model = dict(
        name=f"resnet{options.depth}",
        num_classes=1000,
        dtype=options.dtype,
        zero_init_residual=True,
    )
    config.task = dict(name="classification")
    config.data = dict(
        name="tfds/imagenet2012",
        image_size=224,
        channels=3,
        batch_size=options.batch,
        train_view=dict(name="random_resized_crop", scale=(0.08, 1.0)),
        eval_view=dict(name="resize_center_crop", resize=256),
        augment=dict(horizontal_flip=dict(p=0.5)),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        workers=8,
    )
    config.optim = dict(
        name="nesterov",
        lr=0.1 * options.batch / 256,
        options=dict(momentum=0.9),
        weight_decay=1e-4,
        schedule=dict(name="piecewise", milestones=(30, 60, 80), factor=0.1, warmup=5.0),
    )
    config.evals = dict(validation=dict(split="validation"))
    config.train = dict(epochs=float(options.epochs), log_every=100, monitor="validation/accuracy")
    if options.smoke:
        config.model.num_classes = 10
        config.data = dict(name="digits", image_size=32, channels=3, batch_size=8)
        config.optim.schedule = dict(name="constant")
        config.evals = dict(validation=dict(split="test", every=2))
        config.train = dict(steps=2, log_every=1, monitor="validation/accuracy")
    return config
