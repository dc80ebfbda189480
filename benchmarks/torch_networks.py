"""PyTorch twins of the networks that benchmarks/train_step.py times."""

import torch
import torch.nn.functional as F
from torch import nn


class SmallCNN(nn.Module):
    """The twin of cvjax's `small_cnn` at 28x28x1."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
        self.hidden, self.head = nn.Linear(3136, 128), nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.head(F.relu(self.hidden(x.flatten(1))))


class Block(nn.Module):
    """A residual block: two 3x3 convolutions, or 1x1 - 3x3 - 1x1 where `bottleneck`."""

    def __init__(self, inside: int, width: int, stride: int, *, bottleneck: bool) -> None:
        super().__init__()
        outside = width * 4 if bottleneck else width
        kernels = (1, 3, 1) if bottleneck else (3, 3)
        widths = (inside, width, width, outside) if bottleneck else (inside, width, width)
        # The stride is on the 3x3 of a bottleneck, on the first of two.
        strides = (1, stride, 1) if bottleneck else (stride, 1)
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, k, s, k // 2, bias=False)
            for a, b, k, s in zip(widths, widths[1:], kernels, strides)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(w) for w in widths[1:])
        self.shortcut = nn.Identity()
        if stride > 1 or inside != outside:
            conv = nn.Conv2d(inside, outside, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(outside))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms)):
            y = norm(conv(y))
            if i + 1 < len(self.convs):
                y = F.relu(y)
        return F.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    """ResNet-18 or -50 with 10 classes, with the stem for ImageNet or for CIFAR."""

    def __init__(self, sizes: tuple[int, ...], *, bottleneck: bool, cifar: bool) -> None:
        super().__init__()
        if cifar:
            stem = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
        else:
            stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
            stem.append(nn.MaxPool2d(3, 2, 1))
        blocks, inside = [], 64
        for i, count in enumerate(sizes):
            for j in range(count):
                stride = 2 if i and not j else 1
                blocks.append(Block(inside, 64 * 2**i, stride, bottleneck=bottleneck))
                inside = 64 * 2**i * (4 if bottleneck else 1)
        self.body = nn.Sequential(*stem, *blocks)
        self.head = nn.Linear(inside, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))


def network(name: str, *, cifar: bool) -> nn.Module:
    """The twin of the cvjax model called `name`."""
    if name == "small_cnn":
        return SmallCNN()
    sizes = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}[name]
    return ResNet(sizes, bottleneck=name == "resnet50", cifar=cifar)
