"""Composed scenes: every annotation against the pixels, by plainer means than the source's."""

import functools
import pickle

import numpy as np
import pytest

from cvjax.data.glyphs import digit_glyphs
from cvjax.data.order import shuffled_indices
from cvjax.data.pipeline import Reading, eval_batches, train_batch
from cvjax.data.source import Source
from cvjax.data.sources.digits import Digits
from cvjax.data.sources.scenes import MENTIONED, TARGETS, Scenes


@functools.cache
def scenes(split="train", **options):
    return Scenes(split, **{"image_size": 96, "num_examples": 40, "targets": TARGETS} | options)


@functools.cache
def examples(**options):
    source = scenes(**options)
    return [source[i] for i in range(30)]


def same(one, other):
    return one.keys() == other.keys() and all((one[k] == other[k]).all() for k in one)


def test_an_example_is_a_function_of_seed_and_index_alone():
    source = scenes()
    backwards = [source[i] for i in reversed(range(30))][::-1]
    copy = pickle.loads(pickle.dumps(source))
    for i, example in enumerate(examples()):
        assert same(example, backwards[i])
        assert same(example, copy[i])
    others = [source[1], scenes(seed=1)[0], scenes("test")[0], scenes("validation")[0]]
    assert not any((examples()[0]["image"] == other["image"]).all() for other in others)


def test_asking_for_fewer_targets_changes_neither_picture_nor_boxes():
    plain = scenes(targets=())[3]
    assert sorted(plain) == ["box_label", "box_valid", "boxes", "image"]
    assert all((plain[name] == examples()[3][name]).all() for name in plain)


def test_boxes_are_the_smallest_around_the_visible_pixels():
    for example in examples():
        for i in np.flatnonzero(example["box_valid"]):
            pixels = [(x, y) for y in range(96) for x in range(96) if example["masks"][i, y, x]]
            xs, ys = zip(*pixels)
            box = [min(xs), min(ys), max(xs) + 1, max(ys) + 1]
            np.testing.assert_array_equal(example["boxes"][i], box)


def test_no_pixel_belongs_to_two_objects_and_the_semantic_map_says_which_class():
    for example in examples():
        assert example["masks"].sum(axis=0).max() == 1
        expected = np.zeros((96, 96), int)
        for mask, label in zip(example["masks"], example["box_label"]):
            expected[mask] = label + 1
        np.testing.assert_array_equal(example["semantic"], expected)
        assert example["semantic"].dtype == np.int32


def test_objects_come_first_and_padding_is_zero():
    for example in examples():
        count = example["box_valid"].sum()
        assert 1 <= count <= 12
        assert example["box_valid"][:count].all()
        for name in ("boxes", "box_label", "masks", "keypoints"):
            assert not example[name][count:].any()
    counts = {int(example["box_valid"].sum()) for example in examples()}
    assert len(counts) > 6


def test_on_a_plain_background_what_stands_out_is_what_the_mask_says():
    alone = scenes(max_objects=1, num_examples=200, size=(0.3, 0.6))
    checked = 0
    for i in range(100):
        if "plain" not in alone.caption(i):
            continue
        example = alone[i]
        mask = example["masks"][0]
        background = np.median(example["image"][~mask], axis=0)
        # half way between the background and the digit's own colour
        direction = np.median(example["image"][mask], axis=0) - background
        seen = (example["image"] - background) @ direction > direction @ direction / 2
        assert (seen & mask).sum() / (seen | mask).sum() > 0.9  # noise decides at the edge
        checked += 1
    assert checked > 5


def test_keypoints_lie_on_their_object_and_are_visible_unless_a_later_one_covers_them():
    covered = 0
    for example in examples():
        for i in np.flatnonzero(example["box_valid"]):
            for x, y, v in example["keypoints"][i]:
                later = example["masks"][i + 1 :, int(y), int(x)].any()
                assert v == (1 if later else 2)
                covered += later
    assert covered > 0
    for example in examples(rotation=0.0, max_objects=1):
        (x1, y1, x2, y2), points = example["boxes"][0], example["keypoints"][0]
        # a scanned pixel is an eighth of a digit; its outermost ink is within one of the edge
        slack = max(x2 - x1, y2 - y1) / 8 + 1
        found = [points[0, 1], points[1, 1], points[2, 0], points[3, 0]]
        np.testing.assert_allclose(found, [y1, y2, x1, x2], atol=slack)
        rows, columns = np.nonzero(example["masks"][0])
        np.testing.assert_allclose(points[4, :2], [columns.mean(), rows.mean()], atol=slack)


def test_where_nothing_may_be_hidden_no_stroke_is_covered():
    for example in examples(max_hidden=0.0):
        assert (example["keypoints"][..., :4, 2] != 1).all()
    assert max(example["box_valid"].sum() for example in examples(max_hidden=0.0)) > 6


def test_captions_count_and_name_what_is_there():
    source = scenes()
    names = "one two three four five six seven eight nine ten eleven twelve"
    numbers = {name: number for number, name in enumerate(names.split(), 1)}
    for i, example in enumerate(examples()):
        words = source.caption(i).split()
        tokens = example["tokens"][example["token_valid"]]
        assert [source.info.words[t] for t in tokens] == words
        count = example["box_valid"].sum()
        assert numbers[words[0]] == count
        named = [int(word) for word in words if word.isdigit()]
        areas = (example["boxes"][:, 2:] - example["boxes"][:, :2]).prod(axis=1)[:count]
        largest = np.argsort(-areas, kind="stable")[:MENTIONED]
        assert sorted(named) == sorted(example["box_label"][largest])


def test_chosen_classes_are_numbered_in_their_order():
    source = scenes(classes=("7", "1"), targets=())
    assert source.info.class_names == ("7", "1")
    assert source.info.num_classes == 2
    assert {int(n) for i in range(30) for n in source[i]["box_label"]} == {0, 1}
    split = Digits("train", test_fraction=0.2, validation_fraction=0.1)
    glyphs = digit_glyphs("train", classes=("7", "1"), test_fraction=0.2, validation_fraction=0.1)
    counted = [sum(glyph.label == label for glyph in glyphs.glyphs) for label in (0, 1)]
    assert counted == [(split.labels == 7).sum(), (split.labels == 1).sum()]


def test_classes_that_are_not_annotated_are_painted_and_are_background():
    whole, some = (
        scenes(classes=("7", "1", "4")),
        scenes(classes=("7", "1", "4"), annotated=("4", "7")),
    )
    assert some.info.class_names == ("4", "7")
    left_out = 0
    for i in range(30):
        every, example = whole[i], some[i]
        np.testing.assert_array_equal(example["image"], every["image"])
        asked = [j for j in np.flatnonzero(every["box_valid"]) if every["box_label"][j] != 1]
        left_out += every["box_valid"].sum() - len(asked)
        count = len(asked)
        np.testing.assert_array_equal(np.flatnonzero(example["box_valid"]), range(count))
        labels = [{0: 1, 2: 0}[int(every["box_label"][j])] for j in asked]
        np.testing.assert_array_equal(example["box_label"][:count], labels)
        for name in ("boxes", "masks", "keypoints"):
            np.testing.assert_array_equal(example[name][:count], every[name][asked])
            assert not example[name][count:].any()
        semantic = np.zeros((96, 96), int)
        for label, j in zip(labels, asked):
            semantic[every["masks"][j]] = label + 1
        np.testing.assert_array_equal(example["semantic"], semantic)
        named = {word for word in some.caption(i).split() if word.isdigit()}
        assert named <= {some.info.class_names[label] for label in labels}
    assert left_out > 20


def test_every_picture_holds_a_class_that_is_always_there_in_the_splits_that_ask_for_it():
    def counts(split, **options):
        source = Scenes(split, image_size=64, num_examples=60, annotated=("3",), **options)
        return np.array([source[i]["box_valid"].sum() for i in range(60)])

    assert counts("train", always=("3",)).min() >= 1
    assert counts("train", always={"train": ("3",)}).min() >= 1
    by_chance = counts("train")
    assert by_chance.min() == 0
    # Of 6.5 objects a picture one in ten, or the first and one in ten of the others.
    assert 0.4 < by_chance.mean() < 0.9 < counts("train", always=("3",)).mean() < 1.9
    np.testing.assert_array_equal(counts("test", always={"train": ("3",)}), counts("test"))


def test_the_number_of_objects_may_be_given_by_split():
    crowd = {"min_objects": {"train": 12}, "max_objects": {"train": 24}}
    train, test = (
        Scenes(split, image_size=128, num_examples=40, **crowd) for split in ("train", "test")
    )
    found = np.array([train[i]["box_valid"].sum() for i in range(40)])
    assert train[0]["boxes"].shape == (24, 4)
    assert 15 < found.mean() < 20  # of 18 drawn, a few find no place
    assert found.max() > 20
    plain = Scenes("test", image_size=128, num_examples=40)
    for name, value in plain[7].items():
        np.testing.assert_array_equal(test[7][name], value)
    with pytest.raises(ValueError, match=r"min_objects=\{'train': 13\}.*of train .* 13 and 12"):
        Scenes("train", min_objects={"train": 13})
    with pytest.raises(ValueError, match=r"max_objects names \['trian'\]"):
        Scenes("train", max_objects={"trian": 3})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"annotated": ("7",)}, r"annotated=\['7'\] must be different names out of .*'0', '1'"),
        ({"annotated": ("1", "1")}, r"annotated=\['1', '1'\]"),
        ({"always": ("7",)}, r"always=\['7'\] must be"),
        ({"always": {"training": ("1",)}}, r"always names \['training'\]; splits: \['train'"),
        ({"always": ("1",), "min_objects": 0}, "needs min_objects of at least 1"),
    ],
)
def test_classes_that_cannot_be_annotated_or_always_there_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Scenes("train", classes=("0", "1"), **options)


def test_the_splits_use_every_scan_once():
    parts = [
        digit_glyphs(split, classes=(), test_fraction=0.2, validation_fraction=0.1).glyphs
        for split in ("train", "validation", "test")
    ]
    assert sum(map(len, parts)) == 1797


def test_grey_pictures_are_the_luma_of_the_coloured_ones():
    grey, colored = scenes(channels=1)[0]["image"], examples()[0]["image"]
    assert grey.shape == (96, 96, 1)
    luma = colored @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey[..., 0] - luma).max() < 1.01


def test_batches_of_scenes_are_read_like_any_others_and_padding_holds_no_boxes():
    source = scenes(num_examples=5)
    assert isinstance(source, Source)
    reading = Reading(batch_size=4, rows=np.arange(4))
    batch = train_batch(source, reading, 2, seed=3)
    order = shuffled_indices(np.arange(8, 12), seed=3, num_examples=5)
    for row, index in enumerate(order):
        assert same({k: v[row] for k, v in batch.items()}, source[int(index)])
    last = list(eval_batches(source, reading))[-1]
    np.testing.assert_array_equal(last["valid"], [True, False, False, False])
    assert not last["box_valid"][1:].any()


def test_bad_options_are_named_all_at_once():
    with pytest.raises(ValueError) as error:
        Scenes("train", min_objects=5, max_objects=4, targets=("mask",), size=(0.5, 0.2))
    for part in ("min_objects=5", "['mask'] are unknown", "size=(0.5, 0.2)"):
        assert part in str(error.value)
    with pytest.raises(ValueError, match="classes=\\['eleven'\\] must be different names out of"):
        Scenes("train", classes=("eleven",))
    with pytest.raises(IndexError, match="has 40 scenes, no scene 40"):
        scenes()[40]
    with pytest.raises(FileNotFoundError, match="tuxpaint-stamps-default"):
        Scenes("train", glyphs="stamps", path="/nowhere")


def test_stamps_are_cut_out_and_keep_their_colours(tmp_path):
    from PIL import Image

    for name, color in (("red", (250, 10, 10)), ("blue", (10, 10, 250))):
        (tmp_path / name).mkdir()
        for number in range(6):
            layers = np.zeros((30, 40, 4), np.uint8)
            layers[5:25, 8 + number : 30, :3] = color
            layers[5:25, 8 + number : 30, 3] = 255
            Image.fromarray(layers).save(tmp_path / name / f"{number}.png")
        Image.fromarray(layers).save(tmp_path / name / "0_mirror.png")  # in no split
    source = scenes(
        glyphs="stamps", path=str(tmp_path), classes=("red", "blue"), max_objects=3,
        test_fraction=0.34, size=(0.3, 0.4),
    )  # fmt: skip
    assert len(source._glyphs.glyphs) == 2 * (6 - 2 - 1)
    for i in range(10):
        example = source[i]
        for j in np.flatnonzero(example["box_valid"]):
            channels = np.median(example["image"][example["masks"][j]], axis=0)
            assert np.argmax(channels) == (0, 2)[example["box_label"][j]]
