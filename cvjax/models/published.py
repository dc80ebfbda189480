"""What others published about the models: papers, ImageNet accuracies and where those stand.

Accuracies are top-1 in percent on ImageNet's validation images, one centre crop of `image_size`
pixels, of the weights that the source names: torchvision's first recipe (IMAGENET1K_V1) where it
has the model, timm's results/results-imagenet.csv otherwise (both read in 2026). Recipes differ,
timm's most of all, so neighbours in the table differ by more than their architecture. A model
without an entry is "unknown": nobody's figure was found that is surely this model's.
"""

import fnmatch
from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    title: str
    year: int
    link: str


@dataclass(frozen=True)
class Result:
    top1: float
    image_size: int
    source: str


@dataclass(frozen=True)
class Input:
    """What a model was made for."""

    image_size: int
    channels: int
    num_classes: int


def paper(name: str) -> Paper | None:
    """The paper that describes the model `name`; None for those of no paper."""
    return next((p for pattern, p in _PAPERS if fnmatch.fnmatchcase(name, pattern)), None)


def result(name: str) -> Result | None:
    """The published ImageNet accuracy of the model `name`; None if unknown."""
    return RESULTS.get(name)


def made_for(name: str) -> Input:
    """The images that the model `name` was published for: the result's size, else 224 pixels."""
    for pattern, given in _SMALL_INPUTS:
        if fnmatch.fnmatchcase(name, pattern):
            return given
    return Input(RESULTS[name].image_size if name in RESULTS else 224, 3, 1000)


# ruff: noqa: E501
# fmt: off
RESULTS = {
    "alexnet": Result(56.522, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "convnext_base": Result(84.062, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "convnext_large": Result(84.414, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "convnext_small": Result(83.616, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "convnext_tiny": Result(82.52, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "darknet53": Result(80.008, 256, "timm, darknet53.c2ns_in1k"),
    "deit3_base_patch16_224": Result(83.8, 224, "timm, deit3_base_patch16_224.fb_in1k"),
    "deit3_small_patch16_224": Result(81.382, 224, "timm, deit3_small_patch16_224.fb_in1k"),
    "deit_base_distilled_patch16_224": Result(83.384, 224, "timm, deit_base_distilled_patch16_224.fb_in1k"),
    "deit_base_patch16_224": Result(81.98, 224, "timm, deit_base_patch16_224.fb_in1k"),
    "deit_small_distilled_patch16_224": Result(81.204, 224, "timm, deit_small_distilled_patch16_224.fb_in1k"),
    "deit_small_patch16_224": Result(79.856, 224, "timm, deit_small_patch16_224.fb_in1k"),
    "deit_tiny_distilled_patch16_224": Result(74.538, 224, "timm, deit_tiny_distilled_patch16_224.fb_in1k"),
    "deit_tiny_patch16_224": Result(72.19, 224, "timm, deit_tiny_patch16_224.fb_in1k"),
    "densenet121": Result(74.434, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "densenet169": Result(75.6, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "densenet201": Result(76.896, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "efficientnet_b0": Result(77.692, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "efficientnet_b1": Result(78.642, 240, "torchvision 0.28.0, IMAGENET1K_V1"),
    "efficientnet_b2": Result(80.608, 288, "torchvision 0.28.0, IMAGENET1K_V1"),
    "efficientnet_b3": Result(82.008, 300, "torchvision 0.28.0, IMAGENET1K_V1"),
    "efficientnet_b4": Result(83.384, 380, "torchvision 0.28.0, IMAGENET1K_V1"),
    "efficientnet_b5": Result(83.444, 456, "torchvision 0.28.0, IMAGENET1K_V1"),
    "efficientnet_b6": Result(84.008, 528, "torchvision 0.28.0, IMAGENET1K_V1"),
    "efficientnet_b7": Result(84.122, 600, "torchvision 0.28.0, IMAGENET1K_V1"),
    "efficientnet_v2_l": Result(85.808, 480, "torchvision 0.28.0, IMAGENET1K_V1"),
    "efficientnet_v2_m": Result(85.112, 480, "torchvision 0.28.0, IMAGENET1K_V1"),
    "efficientnet_v2_s": Result(84.228, 384, "torchvision 0.28.0, IMAGENET1K_V1"),
    "googlenet": Result(69.778, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "inception_resnet_v2": Result(80.434, 299, "timm, inception_resnet_v2.tf_in1k"),
    "inception_v3": Result(77.294, 299, "torchvision 0.28.0, IMAGENET1K_V1"),
    "inception_v4": Result(80.144, 299, "timm, inception_v4.tf_in1k"),
    "legacy_seresnet101": Result(78.37, 224, "timm, legacy_seresnet101.in1k"),
    "legacy_seresnet152": Result(78.662, 224, "timm, legacy_seresnet152.in1k"),
    "legacy_seresnet50": Result(77.65, 224, "timm, legacy_seresnet50.in1k"),
    "legacy_seresnext101_32x4d": Result(80.274, 224, "timm, legacy_seresnext101_32x4d.in1k"),
    "legacy_seresnext50_32x4d": Result(79.08, 224, "timm, legacy_seresnext50_32x4d.in1k"),
    "mnasnet0_5": Result(67.734, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "mnasnet0_75": Result(71.18, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "mnasnet1_0": Result(73.456, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "mnasnet1_3": Result(76.506, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "mobilenet_v2": Result(71.878, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "mobilenet_v3_large": Result(74.042, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "mobilenet_v3_small": Result(67.668, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "mobilenetv1_100": Result(75.388, 224, "timm, mobilenetv1_100.ra4_e3600_r224_in1k"),
    "nasnetalarge": Result(82.638, 331, "timm, nasnetalarge.tf_in1k"),
    "regnet_x_16gf": Result(80.058, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "regnet_x_1_6gf": Result(77.04, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "regnet_x_32gf": Result(80.622, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "regnet_x_3_2gf": Result(78.364, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "regnet_x_400mf": Result(72.834, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "regnet_x_800mf": Result(75.212, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "regnet_x_8gf": Result(79.344, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "regnet_y_16gf": Result(80.424, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "regnet_y_1_6gf": Result(77.95, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "regnet_y_32gf": Result(80.878, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "regnet_y_3_2gf": Result(78.948, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "regnet_y_400mf": Result(74.046, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "regnet_y_800mf": Result(76.42, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "regnet_y_8gf": Result(80.032, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "resnet101": Result(77.374, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "resnet101d": Result(82.254, 256, "timm, resnet101d.ra2_in1k"),
    "resnet152": Result(78.312, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "resnet152d": Result(83.16, 256, "timm, resnet152d.ra2_in1k"),
    "resnet18": Result(69.758, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "resnet18d": Result(72.296, 224, "timm, resnet18d.ra2_in1k"),
    "resnet34": Result(73.314, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "resnet34d": Result(77.108, 224, "timm, resnet34d.ra2_in1k"),
    "resnet50": Result(76.13, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "resnet50d": Result(80.546, 224, "timm, resnet50d.ra2_in1k"),
    "resnetv2_101": Result(82.042, 224, "timm, resnetv2_101.a1h_in1k"),
    "resnetv2_50": Result(80.41, 224, "timm, resnetv2_50.a1h_in1k"),
    "resnext101_32x8d": Result(79.312, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "resnext101_64x4d": Result(83.246, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "resnext50_32x4d": Result(77.618, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "senet154": Result(81.32, 224, "timm, legacy_senet154.in1k"),
    "seresnet50": Result(80.26, 224, "timm, seresnet50.ra2_in1k"),
    "seresnext50_32x4d": Result(81.268, 224, "timm, seresnext50_32x4d.racm_in1k"),
    "shufflenet_v2_x0_5": Result(60.552, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "shufflenet_v2_x1_0": Result(69.362, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "shufflenet_v2_x1_5": Result(72.996, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "shufflenet_v2_x2_0": Result(76.23, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "squeezenet1_0": Result(58.092, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "squeezenet1_1": Result(58.178, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "swin_b": Result(83.582, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "swin_s": Result(83.196, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "swin_t": Result(81.474, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "tf_efficientnet_b0": Result(76.542, 224, "timm, tf_efficientnet_b0.in1k"),
    "vgg11": Result(69.02, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "vgg11_bn": Result(70.37, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "vgg13": Result(69.928, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "vgg13_bn": Result(71.586, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "vgg16": Result(71.592, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "vgg16_bn": Result(73.36, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "vgg19": Result(72.376, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "vgg19_bn": Result(74.218, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "vit_b_16": Result(81.072, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "vit_base_patch16_224": Result(79.154, 224, "timm, vit_base_patch16_224.augreg_in1k"),
    "vit_small_patch16_224": Result(78.842, 224, "timm, vit_small_patch16_224.augreg_in1k"),
    "vit_tiny_patch16_224": Result(75.452, 224, "timm, vit_tiny_patch16_224.augreg_in21k_ft_in1k"),
    "wide_resnet101_2": Result(78.848, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "wide_resnet50_2": Result(78.468, 224, "torchvision 0.28.0, IMAGENET1K_V1"),
    "xception": Result(79.058, 299, "timm, legacy_xception.tf_in1k"),
}
# fmt: on

_DIGITS = Input(28, 1, 10)
_CIFAR = Input(32, 3, 10)
# The first pattern that fits counts.
_SMALL_INPUTS = (
    ("lenet5*", Input(32, 1, 10)),
    *((name, _DIGITS) for name in ("linear", "mlp", "small_cnn", "no_max_pool_cnn")),
    *(
        (f"{kind}{depth}", _CIFAR)
        for kind in ("resnet", "plain")
        for depth in (20, 32, 44, 56, 110)
    ),
    *((name, _CIFAR) for name in ("preact_*", "wrn_*", "nin_cifar", "resnext29_*")),
    *((name, _CIFAR) for name in ("densenet_*", "vit_*_32")),
)


def _arxiv(number: str, title: str, year: int) -> Paper:
    return Paper(title, year, f"https://arxiv.org/abs/{number}")


_PAPERS = (
    ("fasterrcnn*", _arxiv("1506.01497", "Faster R-CNN", 2015)),
    ("yolo_v1", _arxiv("1506.02640", "You Only Look Once", 2015)),
    ("fast_yolo", _arxiv("1506.02640", "You Only Look Once", 2015)),
    ("yolo_v2", _arxiv("1612.08242", "YOLO9000: Better, Faster, Stronger", 2016)),
    ("yolo_v3", _arxiv("1804.02767", "YOLOv3: An Incremental Improvement", 2018)),
    (
        "*autoencoder",
        Paper(
            "Reducing the Dimensionality of Data with Neural Networks",
            2006,
            "https://doi.org/10.1126/science.1127647",
        ),
    ),
    ("*vae", _arxiv("1312.6114", "Auto-Encoding Variational Bayes", 2013)),
    ("made", _arxiv("1502.03509", "MADE: Masked Autoencoder for Distribution Estimation", 2015)),
    ("pixel_cnn", _arxiv("1601.06759", "Pixel Recurrent Neural Networks", 2016)),
    ("row_lstm", _arxiv("1601.06759", "Pixel Recurrent Neural Networks", 2016)),
    ("diagonal_bilstm", _arxiv("1601.06759", "Pixel Recurrent Neural Networks", 2016)),
    (
        "gated_pixel_cnn",
        _arxiv("1606.05328", "Conditional Image Generation with PixelCNN Decoders", 2016),
    ),
    ("mlp_gan", _arxiv("1406.2661", "Generative Adversarial Networks", 2014)),
    (
        "dcgan",
        _arxiv(
            "1511.06434",
            "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial "
            "Networks",
            2015,
        ),
    ),
    (
        "sngan",
        _arxiv("1802.05957", "Spectral Normalization for Generative Adversarial Networks", 2018),
    ),
    (
        "pix2pix",
        _arxiv(
            "1611.07004", "Image-to-Image Translation with Conditional Adversarial Networks", 2016
        ),
    ),
    (
        "cycle_gan",
        _arxiv(
            "1703.10593",
            "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks",
            2017,
        ),
    ),
    *(
        (
            name,
            _arxiv(
                "1609.04802",
                "Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial "
                "Network",
                2016,
            ),
        )
        for name in ("srresnet", "srgan")
    ),
    (
        "ssdlite*",
        _arxiv("1801.04381", "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018),
    ),
    ("ssd*", _arxiv("1512.02325", "SSD: Single Shot MultiBox Detector", 2015)),
    (
        "retinanet*",
        Paper("Focal loss for dense object detection", 2017, "https://arxiv.org/abs/1708.02002"),
    ),
    (
        "lenet5*",
        Paper(
            "Gradient-based learning applied to document recognition",
            1998,
            "https://doi.org/10.1109/5.726791",
        ),
    ),
    (
        "alexnet_original",
        Paper(
            "ImageNet Classification with Deep Convolutional Neural Networks",
            2012,
            "https://doi.org/10.1145/3065386",
        ),
    ),
    (
        "alexnet",
        _arxiv(
            "1404.5997", "One weird trick for parallelizing convolutional neural networks", 2014
        ),
    ),
    ("zfnet*", _arxiv("1311.2901", "Visualizing and Understanding Convolutional Networks", 2013)),
    ("nin_*", _arxiv("1312.4400", "Network In Network", 2013)),
    (
        "vgg*",
        _arxiv(
            "1409.1556", "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014
        ),
    ),
    ("googlenet*", _arxiv("1409.4842", "Going Deeper with Convolutions", 2014)),
    (
        "bn_inception*",
        _arxiv(
            "1502.03167",
            "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift",
            2015,
        ),
    ),
    (
        "inception_v3*",
        _arxiv("1512.00567", "Rethinking the Inception Architecture for Computer Vision", 2015),
    ),
    (
        "inception_*",
        _arxiv(
            "1602.07261",
            "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning",
            2016,
        ),
    ),
    (
        "xception*",
        _arxiv("1610.02357", "Xception: Deep Learning with Depthwise Separable Convolutions", 2016),
    ),
    (
        "resnet*d",
        _arxiv(
            "1812.01187",
            "Bag of Tricks for Image Classification with Convolutional Neural Networks",
            2018,
        ),
    ),
    ("resnetv2_*", _arxiv("1603.05027", "Identity Mappings in Deep Residual Networks", 2016)),
    ("preact_*", _arxiv("1603.05027", "Identity Mappings in Deep Residual Networks", 2016)),
    (
        "resnext*",
        _arxiv("1611.05431", "Aggregated Residual Transformations for Deep Neural Networks", 2016),
    ),
    ("resnet*", _arxiv("1512.03385", "Deep Residual Learning for Image Recognition", 2015)),
    ("plain*", _arxiv("1512.03385", "Deep Residual Learning for Image Recognition", 2015)),
    ("wrn_*", _arxiv("1605.07146", "Wide Residual Networks", 2016)),
    ("wide_resnet*", _arxiv("1605.07146", "Wide Residual Networks", 2016)),
    ("densenet*", _arxiv("1608.06993", "Densely Connected Convolutional Networks", 2016)),
    ("*se[rn]e[st]*", _arxiv("1709.01507", "Squeeze-and-Excitation Networks", 2017)),
    ("darknet19*", _arxiv("1612.08242", "YOLO9000: Better, Faster, Stronger", 2016)),
    ("darknet53*", _arxiv("1804.02767", "YOLOv3: An Incremental Improvement", 2018)),
    (
        "squeezenet*",
        _arxiv(
            "1602.07360",
            "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size",
            2016,
        ),
    ),
    (
        "mobilenet_v2*",
        _arxiv("1801.04381", "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018),
    ),
    ("mobilenet_v3*", _arxiv("1905.02244", "Searching for MobileNetV3", 2019)),
    (
        "mobilenet*",
        _arxiv(
            "1704.04861",
            "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications",
            2017,
        ),
    ),
    (
        "shufflenet_v2*",
        _arxiv(
            "1807.11164",
            "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design",
            2018,
        ),
    ),
    (
        "shufflenet*",
        _arxiv(
            "1707.01083",
            "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices",
            2017,
        ),
    ),
    (
        "mnasnet*",
        _arxiv("1807.11626", "MnasNet: Platform-Aware Neural Architecture Search for Mobile", 2018),
    ),
    (
        "nasnet*",
        _arxiv(
            "1707.07012", "Learning Transferable Architectures for Scalable Image Recognition", 2017
        ),
    ),
    (
        "efficientnet_v2*",
        _arxiv("2104.00298", "EfficientNetV2: Smaller Models and Faster Training", 2021),
    ),
    (
        "*efficientnet_*",
        _arxiv(
            "1905.11946",
            "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
            2019,
        ),
    ),
    ("regnet_*", _arxiv("2003.13678", "Designing Network Design Spaces", 2020)),
    ("convnext*", _arxiv("2201.03545", "A ConvNet for the 2020s", 2022)),
    (
        "vit_*",
        _arxiv(
            "2010.11929",
            "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
            2020,
        ),
    ),
    ("deit3_*", _arxiv("2204.07118", "DeiT III: Revenge of the ViT", 2022)),
    (
        "deit_*",
        _arxiv(
            "2012.12877",
            "Training data-efficient image transformers & distillation through attention",
            2020,
        ),
    ),
    (
        "swin_*",
        _arxiv(
            "2103.14030",
            "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows",
            2021,
        ),
    ),
    ("mixer_*", _arxiv("2105.01601", "MLP-Mixer: An all-MLP Architecture for Vision", 2021)),
)
