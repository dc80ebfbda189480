"""Other libraries' weights as our variables, and back: `from_torch`, `to_torch`, `load_state_dict`.

    state = load_state_dict("resnet50-11ad3fa6.pth")          # numpy arrays, no torch needed
    variables = from_torch("resnet50", state, source="torchvision")

One file a model family, named as the family's file in `cvjax.models`, says what its tensors are
called elsewhere.
"""

from cvjax.pretrained.convert import from_torch, to_torch
from cvjax.pretrained.state_dict import load_state_dict

__all__ = ["from_torch", "load_state_dict", "to_torch"]
