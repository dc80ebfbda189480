"""Training sanity of the small recipes: a batch is learnt by heart, boxes, classes and scores."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cvjax import build
from cvjax.config import load
from cvjax.evaluators.detection_ap import DetectionAP

STEPS = 250


@pytest.mark.slow
@pytest.mark.parametrize("name", ["retinanet", "ssd"])
def test_the_recipe_for_scenes_learns_four_pictures_by_heart(name):
    config = build.complete(load(f"configs/detection/{name}_scenes.py"))
    config.data.batch_size = 4
    config.data.image_size = 96
    config.model.backbone.width = 16
    config.data.options.num_examples.train = 4
    config.task.candidates = 100
    experiment = build.experiment(config)
    scenes = [experiment.train_source[i] for i in range(4)]
    batch = {field: jnp.asarray(np.stack([s[field] for s in scenes])) for field in scenes[0]}
    seen, task = experiment.eval_transform(batch), experiment.task
    variables = jax.jit(task.init)(jax.random.key(0), seen)
    optimizer = optax.adam(optax.cosine_decay_schedule(3e-3, STEPS))

    def loss(params, rest):
        value, found = task.loss({"params": params, **rest}, seen, {})
        return value, found["mutated"]

    @jax.jit
    def step(params, rest, state):
        (value, rest), grads = jax.value_and_grad(loss, has_aux=True)(params, rest)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), rest, state, value

    rest = dict(variables)
    params = rest.pop("params")
    state, values = optimizer.init(params), []
    for _ in range(STEPS):
        params, rest, state, value = step(params, rest, state)
        values.append(float(value))
    assert values[-1] < 0.1 * values[0]
    evaluator = DetectionAP(
        predict=task.predict, metrics=task.metrics(), class_names=tuple("0123456789")
    )
    figures = evaluator.run(
        {"params": params, **rest}, [{**seen, "valid": jnp.ones(4, bool)}]
    ).scalars
    assert figures["AP50"] > 0.98
    assert figures["AP75"] > 0.8
