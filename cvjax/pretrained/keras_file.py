"""Keras' legacy h5 files of weights, as those of `keras.applications`: {layer/weight: array}."""

from pathlib import Path

import numpy as np

# What Keras has called the weights of a layer over the years.
_WEIGHTS = {
    **{"kernel": "kernel", "W": "kernel", "depthwise_kernel": "depthwise_kernel"},
    **{"bias": "bias", "b": "bias", "gamma": "gamma", "beta": "beta"},
    **{"moving_mean": "moving_mean", "running_mean": "moving_mean"},
    **{"moving_variance": "moving_variance", "running_std": "moving_variance"},
}


def read(path: Path) -> dict[str, np.ndarray]:
    """{"block1_conv1/kernel": array, ...} in Keras' layouts.

    Raises:
        ImportError: if h5py is not installed.
        ValueError: if the file is damaged or of Keras 3's own format (`.weights.h5`).
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError("h5 files need h5py: pip install 'cvjax[keras]'.") from error
    try:
        with h5py.File(path) as file:
            root = file.get("model_weights", file)
            if "layer_names" not in root.attrs:
                raise ValueError(
                    "no legacy Keras weights: h5 files are read as keras.applications and "
                    "save_weights(..., '.h5') of Keras 2 wrote them"
                )
            found = {}
            for layer in map(_text, root.attrs["layer_names"]):
                group = root[layer]
                for weight in map(_text, group.attrs["weight_names"]):
                    found[f"{layer}/{_leaf(layer, weight)}"] = np.asarray(group[weight])
            return found
    except (OSError, KeyError) as error:
        raise ValueError(f"damaged or cut short: {error}") from error


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _leaf(layer: str, weight: str) -> str:
    """ "block1_conv1/block1_conv1_W_1:0" and "conv1_conv/kernel:0" -> "kernel"."""
    leaf = weight.rpartition("/")[2].partition(":")[0].removeprefix(f"{layer}_")
    leaf = leaf.removesuffix("_1")
    if leaf not in _WEIGHTS:
        raise ValueError(f"the layer {layer} has a weight called {weight}, which is not known")
    return _WEIGHTS[leaf]
