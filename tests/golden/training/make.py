"""Writes the goldens of tests/pretrained/test_training_pass.py: `python make.py`; needs PyTorch.

Small networks of torchvision with named weights, one training pass in float64 (dropout off): the
running statistics after it and the gradients of a fixed projection of the logits. Of each tensor
its root mean square and 16 samples.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torchvision.models import DenseNet, MobileNetV2, ResNet, convnext
from torchvision.models.resnet import Bottleneck

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

import named_weights  # noqa: E402

SHAPE = [4, 3, 64, 64]
NETWORKS = {
    "resnet50": lambda: ResNet(Bottleneck, [1, 1, 1, 1], num_classes=5, width_per_group=16),
    "mobilenet_v2": lambda: MobileNetV2(
        num_classes=5,
        width_mult=0.5,
        dropout=0.0,
        inverted_residual_setting=[[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 1, 2]],
    ),
    "densenet121": lambda: DenseNet(8, (2, 2, 2, 2), 16, num_classes=5),
    "convnext_tiny": lambda: convnext.ConvNeXt(
        [
            convnext.CNBlockConfig(8 * 2**i, 16 * 2**i if i < 3 else None, 1)
            for i in range(4)
        ],
        num_classes=5,
    ),
}  # fmt: skip


def main() -> None:
    for name, build in NETWORKS.items():
        net = build().double().train()
        shapes = {
            key: list(x.shape) for key, x in net.state_dict().items() if x.is_floating_point()
        }
        state = {key: named_weights.tensor(key, shape) for key, shape in shapes.items()}
        net.load_state_dict({key: torch.from_numpy(x) for key, x in state.items()}, strict=False)
        image = named_weights.image(SHAPE).transpose(0, 3, 1, 2).astype(np.float64)
        logits = net(torch.from_numpy(image.copy()))
        weight = named_weights.uniform("projection", list(logits.shape))
        (logits * torch.from_numpy(weight)).sum().backward()
        found = {f"gradient {key}": p.grad.numpy() for key, p in net.named_parameters()}
        found |= {
            f"statistics {key}": x.numpy()
            for key, x in net.state_dict().items()
            if key.endswith(("running_mean", "running_var"))
        }
        rows = []
        for x in found.values():
            flat = x.reshape(-1)
            rows.append([np.sqrt(np.mean(flat**2)), *flat[(np.arange(16) * flat.size) // 16]])
        spec = {"state": list(shapes.items()), "image": SHAPE, "tensors": list(found)}
        np.savez_compressed(
            HERE / f"{name}.npz", spec=json.dumps(spec), rows=np.array(rows, np.float32)
        )
        print(name, len(found))


if __name__ == "__main__":
    main()
