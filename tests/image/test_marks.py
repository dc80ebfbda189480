"""What is marked in a picture moves with it; pixels that hold their object's number tell."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.image.augment import draw_matrix, example_keys, train_transform
from cvjax.image.geometry import scale_jitter, zoom_out
from cvjax.image.iou_crop import iou_crop
from cvjax.image.marks import move_marks
from cvjax.image.matrix import horizontal_flip_matrix, translation_matrix

SIDE, OBJECTS, BATCH = 40, 3, 6
BOXES = np.array([[2, 3, 14, 12], [20, 6, 36, 26], [5, 22, 15, 38]], np.float32)


def numbered_batch():
    """Rectangles whose every pixel holds (1 + object + 4 image) / 255, with all marks."""
    image = np.zeros((BATCH, SIDE, SIDE, 1), np.uint8)
    masks = np.zeros((BATCH, OBJECTS, SIDE, SIDE), bool)
    points = np.zeros((BATCH, OBJECTS, 1, 3), np.float32)
    for b in range(BATCH):
        for n, (x1, y1, x2, y2) in enumerate(BOXES.astype(int)):
            image[b, y1:y2, x1:x2] = 1 + n + 4 * b
            masks[b, n, y1:y2, x1:x2] = True
            points[b, n, 0] = (x1 + x2) / 2, (y1 + y2) / 2, 2
    return {
        "image": image,
        "boxes": np.tile(BOXES, (BATCH, 1, 1)),
        "box_label": np.tile(np.arange(OBJECTS, dtype=np.int32), (BATCH, 1)),
        "box_valid": np.ones((BATCH, OBJECTS), bool),
        "masks": masks,
        "semantic": image[..., 0].astype(np.int32),
        "keypoints": points,
    }


def check_against_pixels(batch, numbers):
    """Boxes, masks, semantic map and keypoints against a loop over the pixels' numbers.

    `numbers` [B, N]: what the pixels of each object hold. A resampled edge is off by up to a pixel.
    """
    pixels = np.rint(np.asarray(batch["image"][..., 0]) * 255).astype(int)
    count = 0
    for b in range(len(pixels)):
        seen = batch["semantic"][b] != 255
        np.testing.assert_array_equal(batch["semantic"][b][seen], pixels[b][seen])
        assert not pixels[b][~seen].any()
        for n, number in enumerate(numbers[b]):
            rows, columns = [], []
            for i in range(SIDE):
                for j in range(SIDE):
                    if pixels[b, i, j] == number:
                        rows.append(i)
                        columns.append(j)
            if not batch["box_valid"][b, n]:
                assert not batch["boxes"][b, n].any()
                assert not batch["masks"][b, n].any()
                assert not batch["keypoints"][b, n].any()
                continue
            count += 1
            want = [min(columns), min(rows), max(columns) + 1, max(rows) + 1]
            np.testing.assert_allclose(batch["boxes"][b, n], want, atol=1.0)
            np.testing.assert_array_equal(batch["masks"][b, n], pixels[b] == number)
            x, y, v = batch["keypoints"][b, n, 0]
            assert v == 2
            assert pixels[b, int(y), int(x)] == number
    return count


NUMBERS = 1 + np.arange(OBJECTS)[None] + 4 * np.arange(BATCH)[:, None]


@pytest.mark.parametrize(
    "augment",
    [
        {"horizontal_flip": {}, "vertical_flip": {}, "random_crop": {"padding": 12}},
        {"zoom_out": {"scale": (1, 3), "p": 0.5}, "iou_crop": {}, "resample": {"order": 0}},
        {"scale_jitter": {"scale": (0.5, 2)}, "horizontal_flip": {}, "resample": {"order": 0}},
    ],
)
def test_marks_agree_with_the_pixels_that_moved(augment):
    batch = jax.jit(train_transform(augment))(jax.random.key(3), numbered_batch())
    batch = jax.device_get(batch)
    assert 0 < check_against_pixels(batch, NUMBERS) < BATCH * OBJECTS


def test_a_mosaic_shows_four_pictures_with_their_marks():
    # Nearest pixels, so that no number is mixed: the meeting point and scales decide alone.
    source = numbered_batch()
    batch = jax.device_get(jax.jit(train_transform({"mosaic": {}}))(jax.random.key(0), source))
    assert batch["boxes"].shape == (BATCH, 4 * OBJECTS, 4)
    np.testing.assert_array_equal(batch["box_label"], np.tile([0, 1, 2], (BATCH, 4)))
    origins = set()
    for b in range(BATCH):
        pixels = np.asarray(batch["image"][b, ..., 0]) * 255
        for n in range(4 * OBJECTS):
            number = 1 + n % OBJECTS + 4 * ((b - n // OBJECTS) % BATCH)
            if not batch["box_valid"][b, n]:
                continue
            origins.add(n // OBJECTS)
            x1, y1, x2, y2 = batch["boxes"][b, n]
            for i in range(SIDE):
                for j in range(SIDE):
                    # Bilinear edges mix with the background, so the inside is what is compared.
                    if x1 + 1 <= j <= x2 - 2 and y1 + 1 <= i <= y2 - 2:
                        assert abs(pixels[i, j] - number) < 1e-3
                    if batch["masks"][b, n, i, j]:
                        assert x1 - 1 <= j <= x2
                        assert y1 - 1 <= i <= y2
                        assert batch["semantic"][b, i, j] == number
            x, y, v = batch["keypoints"][b, n, 0]
            assert v in (0, 2)
            if v:
                assert batch["masks"][b, n, int(y), int(x)]
    assert origins == {0, 1, 2, 3}
    # The first is upper left, the second upper right, the third lower left.
    parts = [slice(n * OBJECTS, (n + 1) * OBJECTS) for n in range(4)]
    for b in range(BATCH):
        boxes = [batch["boxes"][b, part][batch["box_valid"][b, part]] for part in parts]
        for axis, first, second in ((0, (0, 2), (1, 3)), (1, (0, 1), (2, 3))):
            ends = np.concatenate([boxes[n] for n in first])[:, 2 + axis]
            starts = np.concatenate([boxes[n] for n in second])[:, axis]
            assert max(ends, default=0) <= min(starts, default=SIDE)


def test_an_example_without_its_mosaic_is_itself_with_room_for_more():
    source = numbered_batch()
    batch = jax.jit(train_transform({"mosaic": {"p": 0.0}}))(jax.random.key(0), source)
    np.testing.assert_allclose(np.asarray(batch["image"]) * 255, source["image"], atol=1e-5)
    for name in ("boxes", "box_valid", "masks", "keypoints"):
        np.testing.assert_array_equal(batch[name][:, :OBJECTS], source[name])
        assert not np.asarray(batch[name])[:, OBJECTS:].any()
    np.testing.assert_array_equal(batch["semantic"], source["semantic"])


def test_objects_stay_by_their_centre_or_by_the_share_that_is_seen():
    boxes = jnp.array([[0.0, 0, 10, 10], [4, 0, 14, 10], [10, 0, 18, 8], [2, 2, 6, 6]])
    marks = {
        "boxes": boxes,
        "box_valid": jnp.array([True, True, True, False]),
        "box_ignore": jnp.array([False, False, False, True]),
        "box_area": jnp.array([80.0, 70.0, 60.0, 10.0]),
    }
    move = jax.jit(lambda marks, matrix, keep: move_marks(marks, matrix, (10, 10), keep=keep),
                   static_argnums=2)  # fmt: skip
    # Shows 4 of 10, 8 of 10 and 6 of 8 columns, and none of what is to be ignored.
    left = translation_matrix(-6.0, 0.0)
    for keep, stays in (("center", [False, True, True]), (0.39, [True] * 3), (0.77, [0, 1, 0])):
        moved = move(marks, left, keep)
        assert moved["box_valid"].tolist() == [*stays, False]
        assert moved["box_ignore"].tolist() == [False] * 4
    moved = move(marks, left, "center")
    np.testing.assert_array_equal(moved["boxes"], [[0] * 4, [0, 0, 8, 10], [4, 0, 10, 8], [0] * 4])
    np.testing.assert_array_equal(moved["box_area"], [0, 70, 60, 0])
    a_bit = move(marks, translation_matrix(-5.0, 0.0), "center")
    assert a_bit["box_ignore"].tolist() == [False] * 3 + [True]


def test_a_mirror_image_exchanges_left_and_right_keypoints():
    points = jnp.array([[[1.0, 2, 2], [8, 3, 1], [5, 5, 0]]])
    moved = move_marks({"keypoints": points}, horizontal_flip_matrix(10), (10, 10),
                       keypoint_pairs=[(0, 1)])["keypoints"]  # fmt: skip
    np.testing.assert_array_equal(moved, [[[2, 3, 1], [9, 2, 2], [0, 0, 0]]])
    still = move_marks({"keypoints": points}, translation_matrix(1.0, 0.0), (10, 10),
                       keypoint_pairs=[(0, 1)])["keypoints"]  # fmt: skip
    np.testing.assert_array_equal(still, [[[2, 2, 2], [9, 3, 1], [0, 0, 0]]])


def windows(matrices):
    """What each matrix shows of a picture of SIDE: [x1, y1, x2, y2]."""
    corners = np.array([[0, 0, 1], [SIDE, SIDE, 1]], float)
    return [(np.linalg.inv(m) @ corners.T)[:2].T.ravel() for m in np.asarray(matrices)]


def test_crops_overlap_some_object_as_much_as_was_asked():
    valid = jnp.array([True, True, False])  # padding, which no crop may go by

    def crops(**options):
        draw = jax.vmap(lambda k: iou_crop(k, (SIDE, SIDE), jnp.asarray(BOXES), valid, **options))
        return windows(jax.jit(draw)(jax.random.split(jax.random.key(0), 60)))

    found = crops(thresholds=(0.4,), whole=0.0)
    overlaps, cropped = [], 0
    for x1, y1, x2, y2 in found:
        if np.allclose([x1, y1, x2, y2], [0, 0, SIDE, SIDE]):
            continue
        cropped += 1
        assert min(x1, y1) >= -1e-3
        assert max(x2, y2) <= SIDE + 1e-3
        assert 0.5 - 1e-3 <= (x2 - x1) / (y2 - y1) <= 2 + 1e-3
        assert min(x2 - x1, y2 - y1) >= 0.3 * SIDE - 1e-3
        best = 0.0
        for u1, v1, u2, v2 in BOXES[:2]:
            if x1 < (u1 + u2) / 2 < x2 and y1 < (v1 + v2) / 2 < y2:
                both = max(0, min(x2, u2) - max(x1, u1)) * max(0, min(y2, v2) - max(y1, v1))
                union = (x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - both
                best = max(best, both / union)
        overlaps.append(best)
    assert cropped > 20
    assert min(overlaps) >= 0.4 - 1e-3
    for options in ({"whole": 1.0}, {"thresholds": (1.0,), "tries": 2}):
        for window in crops(**options):
            np.testing.assert_allclose(window, [0, 0, SIDE, SIDE], atol=1e-3)


def test_zoomed_out_pictures_are_whole_and_jittered_ones_fill_or_fit():
    keys = jax.random.split(jax.random.key(1), 40)
    for function, scale, (low, high) in (
        (zoom_out, (1.0, 4.0), (0.25, 1.0)),
        (scale_jitter, (0.5, 2.0), (0.5, 2.0)),
    ):
        draw = functools.partial(function, shape=(SIDE, SIDE), scale=scale)
        matrices = jax.jit(jax.vmap(draw))(keys)
        factors = []
        for matrix in np.asarray(matrices):
            factor, start = matrix[0, 0], matrix[:2, 2]
            assert matrix[1, 1] == factor
            room = SIDE * (1 - factor)
            assert (start >= min(0, room) - 1e-3).all()
            assert (start <= max(0, room) + 1e-3).all()
            factors.append(factor)
        assert low <= min(factors) < low + 0.2 * (high - low)
        assert high - 0.3 * (high - low) < max(factors) <= high


def test_the_matrix_of_an_example_is_that_by_which_its_marks_moved():
    augment = {"zoom_out": {}, "iou_crop": {}, "resample": {"order": 0}}
    key = jax.random.key(5)
    batch = numbered_batch()
    batch = {name: batch[name] for name in ("image", "boxes", "box_valid")}
    moved = jax.jit(train_transform(augment))(key, batch)
    marks = {name: jnp.asarray(batch[name][2]) for name in ("boxes", "box_valid")}

    @jax.jit
    def want(marks):
        matrix = draw_matrix(example_keys(key, BATCH)[2], (SIDE, SIDE), augment, marks)
        return move_marks(marks, matrix, (SIDE, SIDE))["boxes"]

    np.testing.assert_allclose(moved["boxes"][2], want(marks), atol=1e-4)


def test_wrong_options_are_told():
    with pytest.raises(ValueError, match=r"keep='middle'(.|\n)*thresholds(.|\n)*center=0.01"):
        train_transform(
            {
                "marks": {"keep": "middle"},
                "iou_crop": {"thresholds": ()},
                "mosaic": {"center": 0.01},
            }
        )
    with pytest.raises(ValueError, match="no augmentation here moves anything"):
        train_transform({"marks": {"keep": 0.5}})
    with pytest.raises(ValueError, match=r"iou_crop needs batch\['boxes'\]"):
        train_transform({"iou_crop": {}})(jax.random.key(0), {"image": np.zeros((1, 8, 8, 1))})
    with pytest.raises(ValueError, match=r"four pictures, but \['label'\] tell of one"):
        train_transform({"mosaic": {}})(
            jax.random.key(0), {"image": np.zeros((1, 8, 8, 1)), "label": np.zeros(1, np.int32)}
        )
