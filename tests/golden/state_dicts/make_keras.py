"""Writes thin_vgg16.h5 and its logits: `python tests/golden/state_dicts/make_keras.py`; Keras 3.

The layers are those of keras.applications.VGG16 by name, order and kind, at 1/64 of the width, and
the file is Keras' legacy h5, as the published weights are.
"""

import sys
from pathlib import Path

import h5py
import keras
import numpy as np
from keras import layers
from keras.src.legacy.saving import legacy_h5_format

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

import named_weights  # noqa: E402


def main() -> None:
    reference = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    image = keras.Input((224, 224, 3))
    x = image
    for layer in reference.layers[1:]:
        config = layer.get_config()
        if isinstance(layer, layers.Conv2D):
            config["filters"] //= 64
        x = type(layer).from_config(config)(x)
    x = layers.Flatten(name="flatten")(x)
    for name in ("fc1", "fc2"):
        x = layers.Dense(3, activation="relu", name=name)(x)
    model = keras.Model(image, layers.Dense(5, name="predictions")(x))
    for layer in model.layers:
        layer.set_weights(
            [
                named_weights.uniform(f"{layer.name}/{i}", list(w.shape))
                * np.float32(0.1 if w.ndim == 1 else (6 / np.prod(w.shape[:-1])) ** 0.5)
                for i, w in enumerate(layer.get_weights())
            ]
        )
    with h5py.File(HERE / "thin_vgg16.h5", "w", libver="latest") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    logits = model(named_weights.image([2, 3, 224, 224])).numpy()
    np.savez(HERE / "thin_vgg16_logits.npz", logits=logits)
    print(logits)


if __name__ == "__main__":
    main()
