"""Our model with a reference's weights against the reference's outputs."""

from collections.abc import Callable

import jax
import named_weights
import numpy as np

from cvjax.models import create
from cvjax.pretrained import from_torch, to_torch


def channels_first(features: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Our maps as PyTorch's convolutional networks have them."""
    return {k: x.transpose(0, 3, 1, 2) if x.ndim == 4 else x for k, x in features.items()}


def check(
    golden_name: str,
    model_name: str,
    *,
    stages: dict[str, str],
    outputs: dict[str, str] | None = None,
    to_reference: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] = channels_first,
    **fields,
) -> None:
    """Weights go in and come back bit for bit; logits and maps agree to 1e-4.

    `stages`: our feature -> the reference's module whose output it is. `outputs`: likewise for
    further outputs, such as auxiliary logits. `to_reference` lays our features out as the
    reference does, and may add what is made of several. Errors are relative to the standard
    deviation.
    """
    golden = named_weights.load(golden_name)
    source = golden.spec["library"]
    variables = from_torch(model_name, golden.state, source, **fields)
    back = to_torch(model_name, variables, source, **fields)
    learned = {name: x for name, x in back.items() if not name.endswith("num_batches_tracked")}
    assert sorted(learned) == sorted(golden.state)
    for name, value in learned.items():
        assert np.array_equal(value, golden.state[name]), name
    assert set(back) - set(learned) <= set(golden.spec["ignored"])

    model = create(model_name, num_classes=golden.outputs["logits"].shape[-1], **fields)
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count == golden.spec["params"]
    apply = jax.jit(lambda v, x: model.apply(v, x, train=False))
    logits, features = jax.device_get(apply(variables, golden.image))
    _assert_close(logits, golden.outputs["logits"], "logits")
    features = to_reference(features)
    for ours, theirs in (outputs or {}).items():
        _assert_close(features[ours], golden.outputs[theirs], ours)
    for ours, theirs in stages.items():
        shape, row = golden.stages[theirs]
        found = features[ours]
        assert list(found.shape) == list(shape), ours
        flat = found.reshape(-1)
        samples = flat[(np.arange(64) * flat.size) // 64]
        moments = np.array([flat.mean(), flat.std(), flat.min(), flat.max()])
        _assert_close(samples, row[4:], ours, scale=row[1])
        _assert_close(moments, row[:4], f"{ours}: mean, std, min, max", scale=row[1])


def _assert_close(found: np.ndarray, want: np.ndarray, name: str, scale: float = 0.0) -> None:
    scale = float(scale or want.std())
    np.testing.assert_allclose(found / scale, want / scale, rtol=0, atol=1e-4, err_msg=name)
