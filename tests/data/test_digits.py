"""The bundled digits: exact pixels, and a split that is seeded, stratified and complete."""

import pickle

import numpy as np
import pytest
from sklearn.datasets import load_digits

from cvjax.data.source import Source, stratified_split
from cvjax.data.sources.digits import Digits


def test_the_two_splits_together_are_all_1797_scans():
    parts = [Digits("train"), Digits("test")]
    assert [len(part) for part in parts] == [1438, 359]
    pixels = np.concatenate([part.images.reshape(-1, 64) for part in parts])
    scans = load_digits().data
    assert sorted(map(bytes, pixels)) == sorted(
        bytes(round(ink * 255 / 16) for ink in scan.astype(int)) for scan in scans
    )


def test_ink_0_to_16_becomes_0_to_255_rounded_to_nearest():
    scans, labels = load_digits(return_X_y=True)
    train = Digits("train", test_fraction=0.0)
    np.testing.assert_array_equal(train.labels, labels)
    values = {int(ink): pixel for ink, pixel in zip(scans.ravel(), train.images.ravel())}
    assert values == {ink: int(ink * 255 / 16 + 0.5) for ink in range(17)}


def test_every_class_gives_the_test_split_its_share():
    labels = load_digits().target
    test = Digits("test", test_fraction=0.25, seed=3)
    for digit in range(10):
        share = (labels == digit).sum() * 0.25
        assert abs((test.labels == digit).sum() - share) <= 0.5


def test_the_split_depends_on_the_seed_alone():
    again = Digits("test", seed=1)
    np.testing.assert_array_equal(Digits("test", seed=1).images, again.images)
    assert not np.array_equal(Digits("test", seed=2).images, again.images)


def test_a_validation_split_comes_out_of_training_not_out_of_test():
    options = {"validation_fraction": 0.1, "seed": 5}
    train, validation, test = (Digits(s, **options) for s in ("train", "validation", "test"))
    assert len(train) + len(validation) + len(test) == 1797
    np.testing.assert_array_equal(test.images, Digits("test", seed=5).images)
    assert len(validation) == pytest.approx(180, abs=5)


def test_a_class_of_one_example_stays_in_training():
    parts = stratified_split(np.array([0, 1, 1, 1, 1]), {"test": 0.5}, seed=0)
    assert 0 in parts["train"]
    assert len(parts["test"]) == 2


def test_examples_batches_and_info_agree():
    digits = Digits("test", image_size=12, channels=3)
    assert isinstance(digits, Source)
    assert digits.info.image_shape == (12, 12, 3)
    assert digits.info.class_names == tuple("0123456789")
    assert digits.info.num_classes == 10
    batch = digits.batch(np.array([5, 2, 5]))
    assert batch["image"].dtype == np.uint8
    assert batch["label"].dtype == np.int32
    for row, index in enumerate([5, 2, 5]):
        np.testing.assert_array_equal(batch["image"][row], digits[index]["image"])
        assert batch["label"][row] == digits[index]["label"]
    assert digits[0]["label"].shape == ()
    assert digits[0]["label"].dtype == np.int32
    assert digits.describe(3) == "digits[test] example 3"


def test_examples_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        Digits("test")[0]["image"][0, 0, 0] = 1


def test_a_pickle_carries_the_options_and_not_the_pixels():
    digits = Digits("test", image_size=16)
    copy = pickle.dumps(digits)
    assert len(copy) < 1000
    np.testing.assert_array_equal(pickle.loads(copy).images, digits.images)


def test_unknown_and_empty_splits_are_named():
    with pytest.raises(ValueError, match="unknown split 'tset'; known"):
        Digits("tset")
    with pytest.raises(ValueError, match="validation_fraction is 0"):
        Digits("validation")
    with pytest.raises(ValueError, match=r"must be in \[0, 1\)"):
        Digits("train", test_fraction=1.0)
