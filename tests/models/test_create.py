import subprocess
import sys

import jax.numpy as jnp
import pytest

from cvjax.models import create, list_models


def test_names_match_a_pattern_in_order():
    assert list_models("resnet?0") == ["resnet20", "resnet50"]
    assert set(list_models("lenet5*")) < set(list_models())


def test_fields_override_the_variant():
    model = create("resnet18", num_classes=7, stem="cifar", dtype=jnp.bfloat16)
    assert (model.num_classes, model.stem, model.stage_sizes) == (7, "cifar", (2, 2, 2, 2))


def test_list_is_taken_as_a_tuple_and_integer_as_a_float():
    model = create("mlp", num_classes=3, hidden=[5, 4], dropout=0)
    assert model.hidden == (5, 4)


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"'resnet_50'\. Did you mean 'resnet50'"):
        create("resnet_50", num_classes=10)


def test_every_wrong_field_is_told_at_once():
    with pytest.raises(ValueError, match="model 'small_cnn'") as error:
        create("small_cnn", num_clases=10, dropout="much")
    message = str(error.value)
    assert "no field 'num_clases'. Did you mean 'num_classes'?" in message
    assert "dropout='much' is not of type float" in message
    assert "needs num_classes (int | None)" in message


def test_value_outside_the_choices_is_told():
    with pytest.raises(ValueError, match="stem='cifar10' is not of type"):
        create("resnet18", num_classes=10, stem="cifar10")


def test_import_stays_light():
    program = (
        "import sys, cvjax.models as m; m.list_models();"
        "heavy = {'tensorflow', 'tensorflow_datasets', 'grain', 'clu', 'matplotlib'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
