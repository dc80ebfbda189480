"""YOLOv2 on PASCAL VOC 2007 and 2012, with the paper's recipe.

Redmon & Farhadi 2016, "YOLO9000: better, faster, stronger", https://arxiv.org/abs/1612.08242,
section 3: 160 epochs, 64 images a step, learning rate 1e-3, divided by 10 at epochs 60 and 90,
momentum 0.9, weight decay 5e-4, crops, colour shifts; five anchors that are clusters of the
training boxes, the authors' for VOC. Published: VOC 2007 mAP 76.8 at 416 pixels (table 3).

    python launch.py --config configs/detection/yolo_v2_voc.py --workdir runs/yolo_v2_voc
    ... --config configs/detection/yolo_v2_voc.py:backbone_from=runs/darknet19

`data.path` names the years' folders, VOCdevkit/VOC2007 with the test set unpacked into it;
docs/detection_data.md says how TFDS's `voc` is read instead.
`backbone_from` is the workdir of a Darknet-19 trained on ImageNet, as by
`configs/classification/darknet_imagenet.py`. Differs from the paper: pictures keep one size, which
it changes every 10 steps. Not run here: it takes about a day of one accelerator.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg

# The authors' yolov2-voc.cfg, in cells of 32 pixels.
ANCHORS = ((1.3221, 1.73145), (3.19275, 4.00944), (5.05587, 8.09892), (9.47112, 4.84053),
           (11.2364, 10.0071))  # fmt: skip


def get_config(arg: str = "") -> ConfigDict:
    """`size=416`, `batch=64`, `epochs=160`, `backbone_from=WORKDIR`, `dtype=...`, `smoke`."""
    options = parse_arg(
        arg, size=416, batch=64, epochs=160, backbone_from="", dtype="float32", smoke=False
    )
    config = ConfigDict()
    config.seed = 0
    config.model = dict(
        name="yolo_v2",
        num_classes=20,
        anchors=tuple((32 * w, 32 * h) for w, h in ANCHORS),
        dtype=options.dtype,
    )
    config.task = dict(name="yolo", exclusive=True, rescore=True, ignore_iou=0.6)
    config.data = dict(
        name="voc",
        path=("VOCdevkit/VOC2007", "VOCdevkit/VOC2012"),
        train_split="trainval",
        image_size=options.size,
        channels=3,
        batch_size=options.batch,
        augment=dict(
            scale_jitter=dict(scale=(0.8, 1.2)),
            horizontal_flip=dict(p=0.5),
            color_jitter=dict(brightness=(2 / 3, 1.5), saturation=(2 / 3, 1.5), hue=0.1),
            resample=dict(value=0.5),
        ),
        workers=8,
        options=dict(fit="stretch", max_objects=64),
    )
    config.optim = dict(
        name="momentum",
        lr=1e-3 * options.batch / 64,
        options=dict(momentum=0.9),
        weight_decay=5e-4,
        schedule=dict(
            name="piecewise", unit="fraction", milestones=(60 / 160, 90 / 160), warmup=1 / 160
        ),
    )
    config.evals = dict(test=dict(split="test", every=None))
    config.train = dict(epochs=float(options.epochs), log_every=100, monitor="test/voc2007_AP50")
    if options.backbone_from:
        config.train.init_from = options.backbone_from
        config.train.init_rules = (("backbone/(.*)", r"\1"), (".*", None))
    if options.smoke:
        config.model.update(num_classes=10, width=8, passthrough=4)
        config.model.backbone = dict(name="darknet19", width=4)
        config.data.update(name="scenes", path=(), image_size=64, batch_size=4, workers=0)
        config.data.options = dict(num_examples=8)
        del config.data.train_split
        config.optim.schedule = dict(name="constant")
        config.evals = dict(test=dict(split="test", every=2))
        config.train = dict(steps=2, log_every=1, monitor="test/AP50")
    return config
