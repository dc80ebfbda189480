"""Writes keras_resnet50.npz: `python tests/golden/state_dicts/make_keras_resnet.py`; Keras 3.

keras.applications.ResNet50 with weights named as in its h5 files: all names and shapes, logits,
and samples of each stage's output.
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

import named_weights  # noqa: E402

SHAPE = [2, 3, 64, 96]
STAGES = {f"stride{2**i}": f"conv{i}_block{n}_out" for i, n in zip((2, 3, 4, 5), (3, 4, 6, 3))}


def main() -> None:
    net = keras.applications.ResNet50(
        weights=None, input_tensor=keras.Input((64, 96, 3)), include_top=False
    )
    x = keras.layers.GlobalAveragePooling2D()(net.output)
    head = keras.layers.Dense(1000, name="predictions")(x)
    outputs = {key: net.get_layer(name).output for key, name in STAGES.items()}
    model = keras.Model(net.input, {"logits": head, **outputs})
    shapes = {}
    for layer in model.layers:
        names = [f"{layer.name}/{w.name}" for w in layer.weights]
        shapes |= {name: list(w.shape) for name, w in zip(names, layer.weights)}
        layer.set_weights([named_weights.keras_tensor(name, shapes[name]) for name in names])
    found = {k: np.asarray(y.detach()) for k, y in model(named_weights.image(SHAPE)).items()}
    found = {k: y if k == "logits" else y[:, ::2, ::2, ::64] for k, y in found.items()}
    spec = {"state": list(shapes.items()), "image": SHAPE, "parameters": 25_636_712}
    assert model.count_params() == spec["parameters"]
    np.savez_compressed(HERE / "keras_resnet50.npz", spec=json.dumps(spec), **found)


if __name__ == "__main__":
    main()
