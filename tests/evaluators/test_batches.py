"""Evaluation batch by batch: every example once, one program, the same on any devices."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import clu.metrics
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.evaluators.batches import Batches
from cvjax.metrics import classification as metrics

METRICS = clu.metrics.Collection.create(
    mean=metrics.Mean.of(lambda value, **_: value),
    accuracy=metrics.Accuracy,
    confusion=metrics.ConfusionMatrix,
)


def predict(variables, batch):
    """Scores are the image's columns, scaled; `value` tells the examples apart."""
    image = batch["image"].astype(jnp.float32) * variables["scale"]
    return {"logits": image[:, 0, :, 0], "value": image[:, 0, 0, 0]}


VARIABLES = {"scale": jnp.float32(0.5)}


def examples(n, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (n, 2, 4, 1), dtype=np.uint8)
    return {"image": image, "label": rng.integers(0, 4, n).astype(np.int32)}


def batches_of(rows, size):
    """Consecutive batches; the last is filled up with copies of the first row, marked invalid."""
    n = len(rows["label"])
    for start in range(0, n, size):
        index = np.arange(start, start + size)
        valid = index < n
        index = np.where(valid, index, 0)
        yield {name: value[index] for name, value in rows.items()} | {"valid": valid}


def by_a_loop(rows):
    scores = rows["image"][:, 0, :, 0] * 0.5
    confusion = np.zeros((4, 4), int)
    for s, y in zip(scores, rows["label"]):
        confusion[y, s.argmax()] += 1
    return scores[:, 0].mean(), np.trace(confusion) / len(scores), confusion


def test_every_example_counts_exactly_once_whatever_the_batch_size():
    rng = np.random.default_rng(0)
    for n, size in [(1, 1), (7, 8), *rng.integers(1, 30, (4, 2)).tolist()]:
        rows = examples(n, seed=n)
        results = Batches(predict=predict, metrics=METRICS).run(
            VARIABLES, batches_of(rows, size), num_examples=n
        )
        mean, accuracy, confusion = by_a_loop(rows)
        np.testing.assert_allclose(results.scalars["mean"], mean, rtol=1e-6)
        assert results.scalars["accuracy"] == accuracy
        np.testing.assert_array_equal(results.arrays["confusion"], confusion)
        assert results.num_examples == n


def test_scalars_are_floats_and_arrays_numpy():
    results = Batches(predict=predict, metrics=METRICS).run(VARIABLES, batches_of(examples(5), 3))
    assert {type(v) for v in results.scalars.values()} == {float}
    assert set(results.scalars) == {"mean", "accuracy"}
    assert set(results.arrays) == {"confusion"}
    assert results.predictions == {}


def test_batches_without_valid_are_valid_throughout():
    rows = examples(6)
    results = Batches(predict=predict, metrics=METRICS).run(VARIABLES, [rows, rows])
    assert results.num_examples == 12
    assert results.scalars["accuracy"] == by_a_loop(rows)[1]


def test_predict_is_traced_once_for_all_batches_and_runs():
    traces = []

    def counting(variables, batch):
        traces.append(1)
        return predict(variables, batch)

    evaluator = Batches(predict=counting, metrics=METRICS)
    evaluator.run(VARIABLES, batches_of(examples(9), 3))
    first = len(traces)  # once for the shapes of the sums, once for the program
    other = evaluator.run({"scale": jnp.float32(2.0)}, batches_of(examples(6), 3))
    assert first == 2
    # a second run asks for the shapes again, but compiles nothing
    assert evaluator._update._cache_size() == 1
    np.testing.assert_allclose(other.scalars["mean"], 4 * by_a_loop(examples(6))[0], rtol=1e-6)


def test_predictions_come_back_in_order_without_padding():
    rows = examples(7)
    results = Batches(predict=predict, metrics=METRICS, keep=("logits", "label", "image")).run(
        VARIABLES, batches_of(rows, 3)
    )
    np.testing.assert_array_equal(results.predictions["label"], rows["label"])
    np.testing.assert_array_equal(results.predictions["image"], rows["image"])
    np.testing.assert_array_equal(results.predictions["logits"], rows["image"][:, 0, :, 0] * 0.5)


def test_nothing_to_evaluate_is_an_error():
    evaluator = Batches(predict=predict, metrics=METRICS)
    padding = examples(2) | {"valid": np.zeros(2, bool)}
    for batches in ([], [padding]):
        with pytest.raises(ValueError, match="counted 0 examples, expected at least 1"):
            evaluator.run(VARIABLES, batches)


def test_lost_or_doubled_examples_are_an_error():
    with pytest.raises(ValueError, match="counted 6 examples, expected 7"):
        Batches(predict=predict, metrics=METRICS).run(
            VARIABLES, batches_of(examples(6), 3), num_examples=7
        )


def test_output_that_does_not_exist_cannot_be_kept():
    with pytest.raises(ValueError, match=r"keep: no output is called 'logit'.*logits"):
        Batches(predict=predict, metrics=METRICS, keep=("logit",)).run(
            VARIABLES, batches_of(examples(2), 2)
        )


# ---- several devices and processes

PROGRAM = """
import sys
import jax, numpy as np
process, count, port = map(int, sys.argv[1:])
if count > 1:
    jax.distributed.initialize(f"127.0.0.1:{port}", count, process)
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
import flax.linen as nn
from cvjax.evaluators.batches import Batches
from cvjax.tasks.classification import Classification

class Linear(nn.Module):
    num_classes: int = 6
    @nn.compact
    def __call__(self, image, *, train):
        return nn.Dense(self.num_classes)(image.reshape(image.shape[0], -1)), {}

task = Classification(Linear())
rng = np.random.default_rng(0)
image = rng.random((44, 2, 3, 1), dtype=np.float32)
label = rng.integers(0, 6, 44).astype(np.int32)
variables = jax.tree.map(np.asarray, task.init(jax.random.key(0), {"image": image[:1]}))

def batches(size):
    for start in range(0, 44, size):
        index = np.arange(start, start + size)
        yield {"image": image[index % 44], "label": label[index % 44], "valid": index < 44}

def on_mesh(batch, sharding):
    return {
        name: jax.make_array_from_callback(value.shape, sharding, lambda i, v=value: v[i])
        for name, value in batch.items()
    }

mesh = Mesh(np.array(jax.devices()).reshape(-1, 1), ("data", "model"))
split, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
evaluator = Batches(predict=task.predict, metrics=task.metrics(), keep=("logits", "label"))
everywhere = jax.tree.map(lambda w: on_mesh({"w": w}, whole)["w"], variables)
found = evaluator.run(everywhere, (on_mesh(b, split) for b in batches(16)), num_examples=44)
assert evaluator._update._cache_size() == 1
expected = evaluator.run(variables, batches(44))  # this process's first device alone
assert found.scalars.keys() == expected.scalars.keys()
for name, value in expected.scalars.items():
    np.testing.assert_allclose(found.scalars[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
for name, value in expected.arrays.items():
    np.testing.assert_array_equal(found.arrays[name], value, err_msg=name)
for name, value in expected.predictions.items():
    np.testing.assert_allclose(found.predictions[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
print("devices", len(jax.devices()), "agree")
"""


def run_program(devices, processes):
    root = Path(__file__).parents[2]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = os.environ | {
        "PYTHONPATH": str(root),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(process), str(processes), str(port)],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for process in range(processes)
    ]
    try:
        outputs = [process.communicate(timeout=120)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    for process, output in zip(started, outputs):
        assert process.returncode == 0, output
        assert f"devices {devices * processes} agree" in output


def test_eight_devices_agree_with_one():
    run_program(devices=8, processes=1)


@pytest.mark.slow
def test_two_processes_agree_with_one():
    run_program(devices=1, processes=2)
