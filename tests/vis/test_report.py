"""The page is whole, self-contained and escaped, and comes about whatever the workdir lacks."""

import base64
import io
import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from cvjax.vis import report
from cvjax.vis.report import (
    confused_pairs,
    format_duration,
    format_figure,
    read_evaluation,
    write_report,
)

CONFUSION = [[8, 2, 0], [0, 10, 0], [1, 0, 9]]
NASTY = '<script>alert("1")</script>&'
VOID = {"meta", "img", "source", "br", "link"}


DRAW = report._curve_png


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch):
    # Curves have tests of their own and take nearly all of the time.
    monkeypatch.setattr(report, "_curve_png", lambda run, panel, theme: b"picture")


@pytest.fixture
def workdir(tmp_path):
    folder = tmp_path / "lenet_digits"
    for part in ("evals", "samples", "checkpoints"):
        (folder / part).mkdir(parents=True)
    records = [{"step": 10 * i, "train/loss": 2.3 / i, "lr": 0.1} for i in range(1, 9)]
    records += [{"step": 80, "test/accuracy": 0.9, "test/loss": 0.4}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    config = {"seed": 0, "model": {"name": "lenet5"}, "task": {"name": "classification"}}
    config["optim"] = {"lr": 0.1, "schedule": {"name": NASTY}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "environment.json").write_text(json.dumps({"versions": {"jax": "0.10.2"}}))
    evaluation = {
        "name": "test",
        "step": 80,
        "num_examples": 30,
        "accuracy": 0.9,
        "class_names": ["cat", NASTY, "dog"],
        "confusion_matrix": CONFUSION,
        "per_class_precision": [0.0, 0.0, 0.0],
        "per_class_accuracy": [0.8, 1.0, 0.9],
    }
    (folder / "evals" / "test.json").write_text(json.dumps(evaluation))
    Image.new("L", (4, 4)).save(folder / "samples" / "train_inputs.png")
    return folder


class Page(HTMLParser):
    """Checks that elements nest, and keeps the text, the ids and every attribute's value."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.text, self.ids, self.values, self.tags = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.values += [value for _, value in attrs if value]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def page_of(workdir) -> Page:
    return Page(write_report(workdir).read_text(encoding="utf-8"))


def test_a_whole_workdir_gives_every_section(workdir):
    page = page_of(workdir)
    assert page.ids == [
        "diagnosis",
        "curves",
        "figures",
        "evaluations",
        "pictures",
        "configuration",
        "environment",
    ]
    text = " ".join(page.text)
    for expected in ("lenet_digits", "90.00%", "optim", "0.10.2", "train inputs", "step 80"):
        assert expected in text


def test_what_the_run_watches_stands_at_the_top_beside_its_loss(workdir):
    records = [{"step": s, "test/AP50": s / 100, "test/loss": 1.0} for s in (40, 80)]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    (workdir / "config.json").write_text(json.dumps({"train": {"monitor": "test/AP50"}}))
    text = page_of(workdir).text
    top = text[text.index("test AP50") :]
    assert top[:4] == ["test AP50", "0.8", "at step 80, the best", "test loss"]


def test_the_page_names_nothing_outside_itself(workdir):
    page = page_of(workdir)
    assert not [value for value in page.values if re.match(r"\s*(https?:)?//", value)]
    assert not {"script", "link", "iframe"} & set(page.tags)
    sources = [value for value in page.values if value.startswith("data:")]
    assert len(sources) == 2 * 3 + 1  # loss, accuracy and learning rate, light and dark; a sample


def test_curves_are_drawn_into_the_page(workdir, monkeypatch):
    monkeypatch.setattr(report, "_curve_png", DRAW)
    curves = [v for v in page_of(workdir).values if v.startswith("data:image/png;base64,")][:6]
    pictures = [Image.open(io.BytesIO(base64.b64decode(v.partition(",")[2]))) for v in curves]
    assert len({picture.size for picture in pictures}) == 1
    corners = [picture.convert("RGB").getpixel((0, 0)) for picture in pictures]
    assert corners == [(23, 27, 34), (255, 255, 255)] * 3  # dark, light


def test_what_comes_from_files_is_escaped(workdir):
    content = write_report(workdir).read_text(encoding="utf-8")
    assert NASTY not in content
    assert NASTY in "".join(Page(content).text)


def test_an_empty_workdir_gives_a_page_that_says_what_is_missing(tmp_path):
    text = " ".join(page_of(tmp_path).text)
    for name in ("config.json", "environment.json", "metrics.jsonl", "evals/", "samples/"):
        assert name in text


@pytest.mark.parametrize(
    "name", ["config.json", "environment.json", "metrics.jsonl", "evals/test.json", "skipped.log"]
)
@pytest.mark.parametrize("content", [b"", b"[1, 2", b"null", b"[[]]", b"\xff\xfe\x00", b'{"a": 1}'])
def test_a_broken_file_never_takes_the_page_down(workdir, name, content):
    (workdir / name).write_bytes(content)
    page = page_of(workdir)
    assert "pictures" in page.ids
    assert "could not be made" not in " ".join(page.text)


def test_a_broken_picture_is_left_to_the_browser_and_a_folder_is_no_picture(workdir):
    (workdir / "samples" / "broken.png").write_bytes(b"")
    (workdir / "samples" / "folder.png").mkdir()
    assert "broken" in " ".join(page_of(workdir).text)


def test_a_section_that_fails_is_named_and_the_others_stay(workdir, monkeypatch):
    def fail(run):
        raise RuntimeError("unforeseen <tag>")

    monkeypatch.setattr(report, "_figures_section", fail)
    page = page_of(workdir)
    assert "unforeseen <tag>" in "".join(page.text)
    assert "environment" in page.ids


def test_no_half_written_page_is_left(workdir):
    write_report(workdir)
    write_report(workdir)
    assert not [each for each in workdir.iterdir() if each.name.endswith(".partial")]


def test_a_path_that_is_no_folder_is_an_error(tmp_path):
    with pytest.raises(NotADirectoryError, match="no folder"):
        write_report(tmp_path / "nothing")


def test_skipped_examples_are_counted_by_reason(workdir):
    lines = [json.dumps({"example": f"a{i}.jpg", "reason": "truncated"}) for i in range(3)]
    (workdir / "skipped.log").write_text("\n".join([*lines, lines[0], "b.png\tempty file", "{"]))
    (workdir / "skipped.process1.log").write_text(
        json.dumps({"example": "c.png", "reason": "truncated"}) + "\n"
    )
    text = " ".join(page_of(workdir).text)
    assert "5 examples could not be used" in text
    assert re.search(r"truncated\s+4\s", text)
    assert "c.png" in text


def test_an_evaluation_is_read_flat_or_in_scalars_and_arrays(workdir, tmp_path):
    flat = read_evaluation(workdir / "evals" / "test.json")
    nested = tmp_path / "test.json"
    nested.write_text(
        json.dumps(
            {
                "step": 80,
                "scalars": {"test/accuracy": 0.9, "test/num_examples": 30},
                "arrays": {"confusion_matrix": CONFUSION, "per_class_accuracy": [0.8, 1, 0.9]},
                "class_names": ["cat", NASTY, "dog"],
            }
        )
    )
    other = read_evaluation(nested)
    assert flat.scalars == other.scalars == {"accuracy": 0.9, "num_examples": 30}
    np.testing.assert_array_equal(flat.confusion, other.confusion)
    np.testing.assert_array_equal(flat.class_accuracy, other.class_accuracy)
    assert flat.class_names == other.class_names
    assert flat.step == other.step == 80


def test_classes_without_names_are_numbered(tmp_path):
    path = tmp_path / "test.json"
    path.write_text(json.dumps({"class_names": ["cat"], "confusion_matrix": CONFUSION}))
    assert read_evaluation(path).class_names == ["cat", "1", "2"]


def test_confused_pairs_match_a_double_loop():
    confusion = np.random.default_rng(0).integers(0, 4, (6, 6)).astype(float)
    slow = sorted(
        (
            (-confusion[i, j], -confusion[i, j] / confusion[i].sum(), i, j)
            for i in range(6)
            for j in range(6)
            if i != j and confusion[i, j]
        ),
    )
    found = confused_pairs(confusion, 100)
    assert [(i, j) for i, j, _, _ in found] == [(i, j) for _, _, i, j in slow]
    np.testing.assert_allclose([share for *_, share in found], [-share for _, share, *_ in slow])
    assert confused_pairs(confusion, 3) == found[:3]


def test_a_perfect_matrix_with_an_empty_class_confuses_nothing():
    assert confused_pairs(np.diag([3.0, 0.0, 2.0]), 5) == []


def test_the_most_confused_pair_is_on_the_page(workdir):
    text = re.sub(r"\s+", " ", " ".join(page_of(workdir).text))
    assert f"cat {NASTY} 2 20.0%" in text


def test_many_classes_are_a_picture_and_fold_away(workdir):
    confusion = np.eye(60) * 3
    confusion[0, 1] = 7
    path = workdir / "evals" / "test.json"
    path.write_text(json.dumps({"step": 1, "confusion_matrix": confusion.tolist()}))
    page = page_of(workdir)
    assert "confusion matrix" in page.values
    assert "30 more classes" in " ".join(page.text)


def test_a_class_without_examples_is_not_counted_as_wrong(workdir):
    path = workdir / "evals" / "test.json"
    path.write_text(json.dumps({"confusion_matrix": [[2, 0], [0, 0]]}))
    text = " ".join(page_of(workdir).text)
    assert "no examples" in text
    assert "never predicted" in text


def test_nan_in_an_evaluation_is_shown_as_such(workdir):
    path = workdir / "evals" / "test.json"
    path.write_text(json.dumps({"loss": math.nan, "per_class_accuracy": [0.5, math.nan, None]}))
    text = " ".join(page_of(workdir).text)
    assert "NaN" in text
    assert "no examples" in text


def test_a_run_that_ended_in_nan_says_so_at_the_top(workdir):
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 90, "train/loss": NaN}\n')
    text = re.sub(r"\s+", " ", " ".join(page_of(workdir).text))
    assert "train loss NaN at step 90" in text
    assert "not finite" in text


def test_pictures_beyond_the_limit_are_named_not_shown(workdir, monkeypatch):
    monkeypatch.setattr(report, "MAX_PICTURE_BYTES", 10)
    assert "train_inputs.png (0.0 MB) is left out" in " ".join(page_of(workdir).text)


def test_pictures_come_in_the_order_of_their_numbers(workdir):
    for step in (1000, 200):
        Image.new("L", (2, 2)).save(workdir / "samples" / f"step_{step}.png")
    text = " ".join(page_of(workdir).text)
    assert text.index("step 200") < text.index("step 1000")


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("accuracy", 0.98611, "98.61%"),
        ("top5_accuracy", 1.0, "100.00%"),
        ("macro_recall", 0.5, "50.00%"),
        ("loss", 0.0861234, "0.08612"),
        ("loss", 2.0, "2"),
        ("images", 421642.0, "421,642"),
        ("images", 21056.4, "21,056"),
        ("loss", math.nan, "NaN"),
        ("loss", -math.inf, "-∞"),
    ],
)
def test_figures_are_written_for_readers(metric, value, text):
    assert format_figure(metric, value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.26, "4.3 s"), (59.4, "59 s"), (185, "3 min 05 s"), (7620, "2 h 07 min")],
)
def test_durations_are_written_for_readers(seconds, text):
    assert format_duration(seconds) == text
