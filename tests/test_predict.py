"""Predicting from the command line: files in, boxes, drawings, JSON and messages out."""

import json

import numpy as np
import pytest
from PIL import Image

from cvjax import predict
from cvjax.data.views import Resize, ResizeCenterCrop


def write_picture(path, *, width=40, height=20, bright=(10, 5, 30, 15)):
    """Dark, with one bright box."""
    pixels = np.zeros((height, width, 3), np.uint8)
    x1, y1, x2, y2 = bright
    pixels[y1:y2, x1:x2] = 255
    Image.fromarray(pixels).save(path)
    return path


def bright_box(images):
    """A detector: the box of bright pixels twice, as class 1 and, doubtfully, as class 0."""
    outputs = {"detected_boxes": np.zeros((len(images), 3, 4), np.float32)}
    for i, image in enumerate(images):
        rows, columns = np.nonzero(image[..., 0] > 127)
        if len(rows):
            box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            outputs["detected_boxes"][i, :2] = box
    shape = (len(images), 1)
    return {
        **outputs,
        "detected_label": np.tile(np.array([1, 0, 0]), shape),
        "detected_score": np.tile(np.array([0.9, 0.1, 0.0], np.float32), shape),
        "detected_valid": np.tile(np.array([True, True, False]), shape),
    }


@pytest.fixture
def detector(monkeypatch):
    found = predict.Predictor(("zero", "one"), 3, bright_box, Resize(20, 3))
    monkeypatch.setattr(predict, "load", lambda workdir, checkpoint: found)


@pytest.mark.usefixtures("detector")
def test_a_folder_is_drawn_and_written_as_coco_results_in_its_own_pixels(tmp_path, capsys):
    folder, out, found = tmp_path / "in", tmp_path / "out", tmp_path / "found.json"
    folder.mkdir()
    write_picture(folder / "007.png")
    write_picture(folder / "012.png", width=60, height=60, bright=(30, 15, 45, 60))
    (folder / "notes.txt").write_text("no picture")
    argv = [str(folder), "--workdir", "w", "--out", str(out), "--json", str(found)]
    assert predict.main([*argv, "--batch_size", "2"]) == 0
    rows = json.loads(found.read_text())
    assert [(row["image_id"], row["category_id"], row["category"]) for row in rows] == [
        (7, 1, "one"), (7, 0, "zero"), (12, 1, "one"), (12, 0, "zero"),
    ]  # fmt: skip
    assert rows[0]["bbox"] == [10.0, 5.0, 20.0, 10.0]
    assert rows[2]["bbox"] == [30.0, 15.0, 15.0, 45.0]
    assert rows[0]["score"] == pytest.approx(0.9)
    text = capsys.readouterr().out
    assert text.count("1 found") == 2  # the doubtful ones are neither printed nor drawn
    drawing = np.asarray(Image.open(out / "007.png"))
    assert drawing.shape == (20 * 9, 40 * 9, 3)
    red = np.argwhere((drawing == (255, 80, 40)).all(axis=-1))
    assert red[:, 1].min() == 10 * 9
    assert red[:, 1].max() == 30 * 9 - 1


@pytest.mark.usefixtures("detector")
def test_an_unreadable_picture_is_named_and_the_others_are_done(tmp_path, capsys):
    write_picture(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"broken")
    assert predict.main([str(tmp_path), "--workdir", "w", "--out", str(tmp_path / "o")]) == 1
    told = capsys.readouterr()
    assert "a.png: 1 found" in told.out
    assert "left out" in told.err
    assert "b.png" in told.err
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == ["a.png"]


def test_a_classifiers_five_best_classes_are_printed_and_nothing_can_be_drawn(
    tmp_path, capsys, monkeypatch
):
    logits = np.array([[0.0, 3, 1, 2, -1, -2]], np.float32)
    names = ("ape", "bee", "cat", "dog", "eel", "fox")
    found = predict.Predictor(names, 3, lambda images: {"logits": logits}, Resize(20, 3))
    monkeypatch.setattr(predict, "load", lambda workdir, checkpoint: found)
    file = write_picture(tmp_path / "a.png")
    written = tmp_path / "found.json"
    assert predict.main([str(file), "--workdir", "w", "--json", str(written)]) == 0
    assert "bee 3.000, dog 2.000, cat 1.000, ape 0.000, eel -1.000" in capsys.readouterr().out
    assert [row["category_id"] for row in json.loads(written.read_text())[0]["classes"]] == [
        1, 3, 2, 0, 4,
    ]  # fmt: skip
    assert predict.main([str(file), "--workdir", "w", "--out", str(tmp_path / "o.png")]) == 2
    assert "a classifier finds no boxes to draw" in capsys.readouterr().err


def test_what_cannot_be_done_is_told_before_a_model_is_loaded(tmp_path, capsys):
    file = write_picture(tmp_path / "a.png")
    (tmp_path / "empty").mkdir()
    for argv, message in (
        ([str(tmp_path / "no.png"), str(tmp_path / "empty")], "there is no such file or folder"),
        ([str(file)], "is no workdir of a run"),
    ):
        assert predict.main([*argv, "--workdir", str(tmp_path / "empty")]) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(ValueError, match="one file for 2 pictures"):
        predict._drawings(tmp_path / "o.png", [file, tmp_path / "b.png"])


def test_boxes_of_a_centre_crop_come_back_to_the_whole_picture():
    view = ResizeCenterCrop(20, 3, resize=20)
    # 40x20 pixels: the crop shows columns 10 to 30.
    found = predict.boxes_in_picture(np.array([[0.0, 5, 20, 10]]), view, (20, 40))
    np.testing.assert_allclose(found, [[10, 5, 30, 10]])
    with pytest.raises(ValueError, match="cannot be brought back"):
        predict.boxes_in_picture(np.zeros((1, 4)), object(), (20, 40))


@pytest.mark.slow
def test_a_workdirs_detections_are_those_of_its_task(tmp_path):
    from cvjax import build
    from cvjax.config import load
    from cvjax.data.sources.scenes import Scenes
    from cvjax.train import loop

    config = load("configs/detection/ssd_scenes.py:smoke")
    experiment = build.experiment(config)
    loop.run(experiment, tmp_path / "run")
    scene = Scenes("test", image_size=64)[0]["image"]
    file = tmp_path / "scene.png"
    Image.fromarray(scene).save(file)
    predictor = predict.load(tmp_path / "run")
    assert predictor.class_names == tuple("0123456789")
    [(read, outputs, bad)] = predict.batches(predictor, [file], 4)
    assert bad == []
    np.testing.assert_array_equal(read[0][1], scene)

    from cvjax.train.restore import saved_variables

    _, variables = saved_variables(tmp_path / "run", "latest")
    batch = experiment.eval_transform({"image": scene[None]})
    want = experiment.task.predict(variables, batch)
    for name, value in want.items():
        np.testing.assert_allclose(outputs[name], value, atol=1e-4, err_msg=name)
