"""SSDLite with MobileNet v3 on COCO, with torchvision's reference recipe.

Sandler et al. 2018, https://arxiv.org/abs/1801.04381, section 6.2, and Howard et al. 2019,
https://arxiv.org/abs/1905.02244, section 6.3, whose larger model reaches AP 22.0 on COCO;
torchvision's ssdlite320_mobilenet_v3_large has 21.3 on val2017, from scratch by this recipe: 660
epochs, 192 images a step, learning rate 0.15 falling by a cosine, momentum 0.9, weight decay 4e-5,
SSD's augmentation.

    python launch.py --config configs/detection/ssdlite_coco.py --workdir runs/ssdlite_coco \
        --config.data.path=coco                  # annotations/, train2017/, val2017/
    ... --config configs/detection/ssdlite_coco.py:tfds    # as TFDS prepares coco/2017

Not run here: it takes days of several accelerators.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """`batch=192`, `epochs=660`, `tfds`, `dtype=float32|bfloat16`, `smoke`."""
    options = parse_arg(arg, batch=192, epochs=660, tfds=False, dtype="float32", smoke=False)
    config = ConfigDict()
    config.seed = 0
    config.model = dict(name="ssdlite320_mobilenet_v3_large", num_classes=80, dtype=options.dtype)
    config.task = dict(
        name="multibox_detection", min_score=0.001, nms_iou=0.55, candidates=300, max_detections=300
    )
    config.data = dict(
        name="coco",
        path="coco",
        train_split="train2017",
        image_size=320,
        channels=3,
        batch_size=options.batch,
        augment=dict(iou_crop={}, horizontal_flip=dict(p=0.5)),
        mean=0.5,
        std=0.5,
        workers=8,
        options=dict(fit="stretch", max_objects=100),
    )
    config.optim = dict(
        name="momentum",
        lr=0.15 * options.batch / 192,
        options=dict(momentum=0.9),
        weight_decay=4e-5,
        schedule=dict(name="cosine", warmup=1.0),
    )
    config.evals = dict(val=dict(split="val2017", every=None))
    config.train = dict(epochs=float(options.epochs), log_every=100, monitor="val/AP")
    if options.tfds:
        config.data.update(name="tfds_boxes/coco/2017", path="", train_split="train")
        config.evals.val.split = "validation"
    if options.smoke:
        config.model = dict(
            name="ssd",
            backbone=dict(name="resnet18", width=8, stage_sizes=(1, 1, 1)),
            scales=(0.1, 0.3, 0.6),
            aspects=((2,), (2, 3)),
            lite=True,
        )
        config.data = dict(name="scenes", image_size=64, batch_size=4, mean=0.5, std=0.25)
        config.data.options = dict(num_examples=8)
        config.optim.schedule = dict(name="constant")
        config.evals = dict(val=dict(split="test", every=2))
        config.train = dict(steps=2, log_every=1, monitor="val/AP")
    return config
