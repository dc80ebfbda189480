import re

import jax
import named_weights
import numpy as np
import parity
import pytest

from cvjax.pretrained import from_torch

# The last map is read behind its activation, where torchvision has no module.
STAGES = {"stride2": "features.relu0"}
STAGES |= {f"stride{4 * 2**i}": f"features.denseblock{i + 1}" for i in range(3)}


def test_densenet121_agrees_with_torchvision():
    parity.check("tv_densenet121", "densenet121", stages=STAGES)


@pytest.mark.slow
def test_densenet201_agrees_with_torchvision():
    parity.check("tv_densenet201", "densenet201", stages=STAGES)


def test_older_files_of_torchvision_are_renamed():
    state = named_weights.load("tv_densenet121").state
    number = re.compile(r"(layer\d+\.(?:norm|conv))([12])")
    older = {number.sub(r"\1.\2", name): x for name, x in state.items()}
    assert "features.denseblock4.denselayer16.norm.2.running_var" in older
    variables = from_torch("densenet121", state)
    again = from_torch("densenet121", older)
    jax.tree.map(np.testing.assert_array_equal, again, variables)
