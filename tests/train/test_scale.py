"""The same training on one device and on many, in one process and in several.

Sums over a batch are added in another order on more devices, so results differ by float32's
rounding (6e-8 each), which a few steps of SGD carry on but do not amplify much. `CLOSE` allows
fifty roundings (three are seen); one wrong example or key shows as a thousand times as much.
"""

import itertools
import signal
from pathlib import Path

import jax
import numpy as np
import pytest
from checkpoint_files import (
    arrays_of,
    assert_same_run,
    host_of,
    last_checkpoint,
    lines_of,
)
from tiny_run import tiny_experiment

from cvjax.train.checkpoint import Checkpoints
from cvjax.train.setup import prepare
from cvjax.train.sharding import FSDP_MIN_SIZE, place_batch
from cvjax.train.step import step_rngs

CLOSE = {"rtol": 3e-6, "atol": 3e-6}
# Leaves of 1,024 numbers and more are sharded: with 32 channels and 8 classes, the head's.
WIDE = {"model": {"width": 32}, "data": {"batch_size": 16, "options": {"num_classes": 8}}}
MESHES = {
    "1 device": (1, {}),
    "2 devices": (2, {}),
    "8 devices": (8, {}),
    "8 devices, fsdp": (8, {"sharding": "fsdp"}),
    "8 devices, fsdp, 2 for the model": (8, {"sharding": "fsdp", "model_parallel": 2}),
}


def flat(tree) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def train_on_meshes(folder: str, steps: int) -> None:
    """In a child with 8 devices: states after some steps, checkpoints, and how fsdp lies."""
    source = tiny_experiment(WIDE).train_source
    setups = {
        name: prepare(tiny_experiment({**WIDE, "train": options}), devices=jax.devices()[:devices])
        for name, (devices, options) in MESHES.items()
    }
    for name, setup in setups.items():
        state = setup.init()
        for step in range(steps):
            batch = source.batch(np.arange(16) + step)
            state, report = setup.train_step(state, place_batch(batch, setup.mesh, 16))
        assert jax.tree.map(lambda x: x.sharding, state) == layout_of(setup)
        np.savez(Path(folder) / f"{name}.npz", **flat(state), reported=report["loss"])
        if "fsdp" in name:
            assert_each_device_holds_its_share(state)
        if name == "1 device":
            for wrong in ("another example", "another place in the batch"):
                wrong_state = train_wrongly(setup, source, steps, wrong)
                np.savez(Path(folder) / f"{wrong}.npz", **flat(wrong_state))
        with Checkpoints(Path(folder) / name) as checkpoints:
            checkpoints.save(state, steps, {})
            checkpoints.wait()
            for other in setups.values():
                # What was saved on one mesh and is read on another is the same to the last bit.
                restored = checkpoints.restore(steps, other.state_shapes).state
                assert jax.tree.map(lambda x: x.sharding, restored) == layout_of(other)
                for path, value in flat(restored).items():
                    np.testing.assert_array_equal(value, flat(state)[path], err_msg=path)


def train_wrongly(setup, source, steps: int, wrong: str):
    state = setup.init()
    for step in range(steps):
        rows = np.arange(16) + step
        if wrong == "another example":
            rows[3] += 16
        else:  # the same examples, but two get each other's random numbers
            rows[[3, 4]] = rows[[4, 3]]
        state, _ = setup.train_step(state, place_batch(source.batch(rows), setup.mesh, 16))
    return state


def layout_of(setup):
    return jax.tree.map(lambda x: x.sharding, setup.state_shapes)


def assert_each_device_holds_its_share(state) -> None:
    """Every big leaf that can be cut is cut, and a device holds little more than its share."""
    sizes = {}
    for part, tree in {"params": state.params, "opt": state.opt_state, "ema": state.ema}.items():
        for leaf in jax.tree.leaves(tree):
            held = {shard.data.size for shard in leaf.addressable_shards}
            if leaf.size >= FSDP_MIN_SIZE:
                assert held == {leaf.size // 8}, (part, leaf.shape)
            sizes.setdefault(part, []).append((max(held), leaf.size))
    for held in sizes.values():
        assert any(whole >= FSDP_MIN_SIZE for _, whole in held)
        assert sum(part for part, _ in held) < 0.3 * sum(whole for _, whole in held)


@pytest.fixture(scope="module")
def trained(nursery, tmp_path_factory):
    folder = tmp_path_factory.mktemp("meshes")
    child = nursery.call("test_scale:train_on_meshes", str(folder), 6, devices=8)
    assert child.wait() == 0, child.output
    return folder


@pytest.mark.parametrize("name", [name for name in MESHES if name != "1 device"])
def test_training_is_the_same_on_any_mesh(name, trained):
    """SGD with momentum, batch normalisation, dropout, augmentation and accumulation."""
    expected, found = np.load(trained / "1 device.npz"), np.load(trained / f"{name}.npz")
    assert set(found) == set(expected)
    for path, value in expected.items():
        np.testing.assert_allclose(found[path], value, **CLOSE, err_msg=path)


@pytest.mark.parametrize("wrong", ["another example", "another place in the batch"])
def test_tolerance_would_show_one_example_or_its_key_being_wrong(wrong, trained):
    kernel = ".params['conv']['kernel']"
    found, expected = np.load(trained / f"{wrong}.npz"), np.load(trained / "1 device.npz")
    assert np.max(np.abs(found[kernel] - expected[kernel])) > 100 * CLOSE["atol"]


def test_keys_of_a_step_depend_on_nothing_but_seed_and_step():
    keys = [
        tuple(jax.random.key_data(key).tolist())
        for seed, step in itertools.product((0, 1), (0, 1, 2))
        for key in (step_rngs(seed, step)[0], *step_rngs(seed, step)[1].values())
    ]
    assert len(set(keys)) == len(keys)


# ---- several processes

CHANGES = {**WIDE, "train": {"steps": 16}}


@pytest.fixture(scope="module")
def alone(nursery, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("alone") / "run"
    nursery.train(workdir, CHANGES)
    return workdir


def wait_for(children) -> None:
    for child in children:
        assert child.wait() == 0, child.output


def assert_close_runs(workdir: Path, reference: Path) -> None:
    """As `assert_same_run`, up to rounding; what counts examples is equal."""
    lines, expected = lines_of(workdir), lines_of(reference)
    assert [line.keys() for line in lines] == [line.keys() for line in expected]
    for line, wanted in zip(lines, expected):
        assert line["step"] == wanted["step"]
        for name, value in wanted.items():
            np.testing.assert_allclose(line[name], value, rtol=1e-4, err_msg=name)
            if name.endswith("accuracy"):
                assert line[name] == wanted[name]
    here, there = last_checkpoint(workdir), last_checkpoint(reference)
    assert here.name == there.name
    assert host_of(here)["best_step"] == host_of(there)["best_step"]
    found, wanted = arrays_of(here), arrays_of(there)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        # Twice as many steps as above.
        np.testing.assert_allclose(found[name], value, rtol=2e-5, atol=2e-5, err_msg=name)


def test_two_processes_train_evaluate_and_save_as_one(nursery, alone, tmp_path):
    """13 and 22 examples are evaluated in batches of 16: both processes pad, one wholly."""
    children = nursery.launch_together(tmp_path / "run", CHANGES)
    wait_for(children)
    assert "mesh data=2 model=1 on 2 x cpu (cpu), 2 process(es)" in children[0].output
    assert_close_runs(tmp_path / "run", alone)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{}, {"sharding": "fsdp"}, {"model_parallel": 2}, {"model_parallel": 4}]
)
def test_two_processes_of_two_devices_train_as_one(options, nursery, alone, tmp_path):
    changes = {**CHANGES, "train": {**CHANGES["train"], **options}}
    wait_for(nursery.launch_together(tmp_path / "run", changes, devices=2))
    assert_close_runs(tmp_path / "run", alone)


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["replicated", "fsdp"])
def test_two_processes_killed_go_on_together_to_the_identical_end(sharding, nursery, tmp_path):
    changes = {**CHANGES, "train": {"steps": 16, "sharding": sharding}}
    wait_for(nursery.launch_together(tmp_path / "whole", changes))
    workdir = tmp_path / "run"
    for instant in ("os.rename.*/5.orbax", "open.*/10/seal.json", r"os.rename.*\.deleting"):
        first, second = nursery.launch_together(workdir, changes, kill_at=(instant, 0))
        first.wait_until(lambda f=first: f.poll() is not None, what="the kill")
        second.send(signal.SIGKILL)
        second.wait()
        assert first.poll() == -signal.SIGKILL, first.output
    wait_for(nursery.launch_together(workdir, changes))
    assert_same_run(workdir, tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_to_one_process_saves_and_ends_all(number, nursery, alone, tmp_path):
    workdir = tmp_path / "run"
    changes = {**CHANGES, "train": {"steps": 4000, "checkpoint_every": 4000}}
    children = nursery.launch_together(workdir, changes)
    metrics = workdir / "metrics.jsonl"
    children[0].wait_until(lambda: metrics.exists() and '"step": 8' in metrics.read_text())
    children[1].send(number)
    statuses = [child.wait() for child in children]
    assert statuses == [128 + signal.SIGTERM, 128 + number], children[1].output
    step = last_checkpoint(workdir).name
    for child in children:
        assert f"saved at step {step} of 4000" in child.output


@pytest.mark.slow
def test_run_moves_between_numbers_of_devices_and_processes(nursery, alone, tmp_path):
    workdir = tmp_path / "run"
    for devices, instant in ((8, "os.mkdir.*/10.orbax"), (1, "os.mkdir.*/15.orbax")):
        child = nursery.launch(workdir, CHANGES, devices=devices, kill_at=(instant, 0))
        assert child.wait() == -signal.SIGKILL, child.output
    wait_for(nursery.launch_together(workdir, CHANGES, devices=2))
    assert_close_runs(workdir, alone)
