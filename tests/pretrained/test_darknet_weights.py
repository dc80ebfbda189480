import parity
import pytest

from cvjax.pretrained import from_torch

STAGES = {f"stride{2 * 2**i}": f"stages.{i}" for i in range(5)}


def test_logits_and_features_agree_with_timm():
    parity.check(
        "timm_darknet53",
        "darknet53",
        stages={"stride1": "stem", **STAGES, "pooled": "head.global_pool"},
        negative_slope=0.01,
    )


def test_darknet19_has_no_weights_there():
    with pytest.raises(ValueError, match="no weights for Darknet19"):
        from_torch("darknet19", {}, "timm", negative_slope=0.01)


def test_slope_that_the_weights_were_not_trained_with_is_an_error():
    with pytest.raises(ValueError, match=r"negative_slope=0\.01, not 0\.1"):
        from_torch("darknet53", {}, "timm")
