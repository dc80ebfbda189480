import named_weights
import numpy as np
import parity
import pytest

from cvjax.pretrained import from_torch

# torchvision's maps have their channels last, like ours.
STAGES = {
    "stride4": "features.1",
    "stride8": "features.3",
    "stride16": "features.5",
    "stride32": "norm",
    "pooled": "flatten",
}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["tv_swin_t__96x128", "tv_swin_t"])
def test_logits_and_features_agree_with_torchvision(name):
    parity.check(name, "swin_t", stages=STAGES, to_reference=dict)


def test_index_buffers_are_ignored():
    golden = named_weights.load("tv_swin_t")
    buffers = {name: np.zeros((2401,), np.int64) for name in golden.spec["ignored"]}
    assert len(buffers) == 12
    from_torch("swin_t", {**golden.state, **buffers}, "torchvision")
