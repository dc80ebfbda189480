"""What networks cost for what accuracy: as a picture, and the course's summary of it, judged."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cvjax.models.info import ModelInfo

Infos = Mapping[str, ModelInfo]


@dataclass(frozen=True)
class Claim:
    """A sentence about models, and how to tell whether it is so."""

    statement: str
    models: tuple[str, ...]
    evidence: Callable[[Infos], str]
    holds: Callable[[Infos], bool]


@dataclass(frozen=True)
class Verdict:
    statement: str
    verdict: str  # "held" or "did not hold"
    evidence: str


def judge(infos: Sequence[ModelInfo]) -> list[Verdict]:
    """Verdicts on the claims whose models are all among `infos`."""
    by_name = {found.name: found for found in infos}
    return [
        Verdict(c.statement, "held" if c.holds(by_name) else "did not hold", c.evidence(by_name))
        for c in CLAIMS
        if set(c.models) <= set(by_name)
    ]


def plot(infos: Sequence[ModelInfo], families: Mapping[str, str], path: str) -> int:
    """Draws accuracy against multiply-adds, the area of a bubble being its parameters.

    `families`: the family of each name, which gives its colour. Models whose accuracy is unknown
    are left out; how many were drawn is returned.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    drawn = [found for found in infos if found.top1 is not None]
    names = sorted({families[found.name] for found in drawn})
    colors = {name: plt.get_cmap("nipy_spectral")(i / len(names)) for i, name in enumerate(names)}
    figure, axes = plt.subplots(figsize=(11, 7))
    for found in sorted(drawn, key=lambda x: -x.parameters):
        x, y = found.multiply_adds / 1e9, found.top1
        axes.scatter(
            x,
            y,
            s=found.parameters / 1e6 * 6,
            color=colors[families[found.name]],
            alpha=0.55,
            edgecolors="black",
            linewidths=0.5,
        )
        if len(drawn) <= 25 or found.name in LABELLED:
            axes.annotate(found.name, (x, y), textcoords="offset points", xytext=(5, 3), fontsize=8)
    axes.set_xscale("log")
    axes.margins(0.1)
    axes.set_xlabel("multiply-adds of one image, billions (logarithmic)")
    axes.set_ylabel("published ImageNet top-1, percent")
    axes.set_title("Accuracy against cost; a bubble's area is the number of parameters")
    axes.grid(alpha=0.3)
    marks = [plt.Line2D([], [], marker="o", ls="", color=colors[n], label=n) for n in names]
    first = axes.legend(
        handles=marks, loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8, title="family"
    )
    axes.add_artist(first)
    sizes = [
        axes.scatter([], [], s=m * 6, color="white", edgecolors="black", label=f"{m} million")
        for m in (5, 25, 100)
    ]
    axes.legend(
        handles=sizes,
        loc="lower right",
        fontsize=8,
        title="parameters",
        labelspacing=1.6,
        borderpad=1.4,
    )
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)
    return len(drawn)


LABELLED = (
    "alexnet", "vgg16", "vgg19", "googlenet", "inception_v3", "inception_v4", "resnet18",
    "resnet50", "resnet152", "densenet121", "mobilenet_v2", "mobilenet_v3_small", "squeezenet1_0",
    "shufflenet_v2_x0_5", "senet154", "nasnetalarge", "efficientnet_b0", "efficientnet_b7",
    "efficientnet_v2_l", "convnext_large", "swin_b", "vit_b_16", "regnet_y_32gf", "xception",
)  # fmt: skip
_RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
_DEPTHS = (18, 34, 50, 101, 152)
_CHART = ("alexnet", "vgg16", "vgg19", "googlenet", *_RESNETS)


def _millions(infos: Infos, *names: str) -> str:
    return ", ".join(f"{name} {infos[name].parameters / 1e6:.1f} M" for name in names)


def _billions(infos: Infos, *names: str) -> str:
    return ", ".join(f"{name} {infos[name].multiply_adds / 1e9:.2f} G" for name in names)


def _top1(infos: Infos, *names: str) -> str:
    return ", ".join(f"{name} {infos[name].top1:.2f} %" for name in names)


def _gains(infos: Infos) -> list[float]:
    """Percentage points for each further layer, from one ResNet to the next deeper one."""
    return [
        (infos[b].top1 - infos[a].top1) / (after - before)
        for a, b, before, after in zip(_RESNETS, _RESNETS[1:], _DEPTHS, _DEPTHS[1:])
    ]


# The course's slide compares these networks; "needs the most" is meant among them.
CLAIMS = (
    Claim(
        "VGG has the most parameters",
        _CHART,
        lambda i: _millions(i, "vgg19", "vgg16", "alexnet", "resnet152"),
        lambda i: (
            min(i["vgg16"].parameters, i["vgg19"].parameters)
            > max(i[n].parameters for n in _CHART if "vgg" not in n)
        ),
    ),
    Claim(
        "VGG needs the most operations",
        _CHART,
        lambda i: _billions(i, "vgg19", "vgg16", "resnet152"),
        lambda i: (
            min(i["vgg16"].multiply_adds, i["vgg19"].multiply_adds)
            > max(i[n].multiply_adds for n in _CHART if "vgg" not in n)
        ),
    ),
    Claim(
        "AlexNet computes little",
        _CHART,
        lambda i: _billions(i, "alexnet", "googlenet", "resnet18"),
        lambda i: i["alexnet"].multiply_adds == min(i[n].multiply_adds for n in _CHART),
    ),
    Claim(
        "yet AlexNet's memory is large: more parameters than any ResNet",
        _CHART,
        lambda i: _millions(i, "alexnet", "resnet152"),
        lambda i: i["alexnet"].parameters > max(i[n].parameters for n in _RESNETS),
    ),
    Claim(
        "and its accuracy is the lowest",
        _CHART,
        lambda i: _top1(i, "alexnet", "resnet18", "googlenet", "vgg16"),
        lambda i: i["alexnet"].top1 == min(i[n].top1 for n in _CHART),
    ),
    Claim(
        "GoogLeNet is the most efficient: most accuracy for a parameter",
        _CHART,
        lambda i: f"{_millions(i, 'googlenet', 'resnet18')}; {_top1(i, 'googlenet', 'resnet18')}",
        lambda i: max(_CHART, key=lambda n: i[n].top1 / i[n].parameters) == "googlenet",
    ),
    Claim(
        "ResNets need moderate operations: between GoogLeNet and VGG-16",
        _CHART,
        lambda i: _billions(i, "googlenet", "resnet18", "resnet152", "vgg16"),
        lambda i: all(
            i["googlenet"].multiply_adds < i[n].multiply_adds < i["vgg16"].multiply_adds
            for n in _RESNETS
        ),
    ),
    Claim(
        "a ResNet is the most accurate of AlexNet, VGG, GoogLeNet and ResNet",
        _CHART,
        lambda i: _top1(i, "resnet152", "vgg19", "googlenet"),
        lambda i: max(_CHART, key=lambda n: i[n].top1) in _RESNETS,
    ),
    Claim(
        "and still is beside Inception-v4",
        (*_CHART, "inception_v4"),
        lambda i: _top1(i, "resnet152", "inception_v4"),
        lambda i: i["inception_v4"].top1 < max(i[n].top1 for n in _RESNETS),
    ),
    Claim(
        "returns of depth diminish: a further layer gains less from each ResNet to the next",
        _RESNETS,
        lambda i: "points a layer: " + ", ".join(f"{gain:.3f}" for gain in _gains(i)),
        lambda i: sorted(_gains(i), reverse=True) == _gains(i),
    ),
    Claim(
        "squeeze-and-excitation pays: the authors' SE-ResNet-50 beats ResNet-50, and the gates"
        " cost under 1 % more operations",
        ("resnet50", "seresnet50", "legacy_seresnet50"),
        lambda i: (
            f"{_top1(i, 'resnet50', 'legacy_seresnet50')}; {_billions(i, 'resnet50', 'seresnet50')}"
        ),
        lambda i: (
            i["legacy_seresnet50"].top1 > i["resnet50"].top1
            and i["seresnet50"].multiply_adds < 1.01 * i["resnet50"].multiply_adds
        ),
    ),
    Claim(
        "Wide ResNet-50-2 beats ResNet-152",
        ("wide_resnet50_2", "resnet152"),
        lambda i: _top1(i, "wide_resnet50_2", "resnet152"),
        lambda i: i["wide_resnet50_2"].top1 > i["resnet152"].top1,
    ),
)
