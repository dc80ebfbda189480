"""Curves: the right panels with the right lines, and a picture whatever the records hold."""

import math
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from cvjax.vis.curves import (
    MAX_PANELS,
    SMOOTH_FROM,
    curve_panels,
    curves_figure,
    plot_curves,
    smoothing_window,
)
from cvjax.vis.records import smooth


def fake_run(steps: int = 40) -> list[dict[str, float]]:
    rng = np.random.default_rng(0)
    records: list[dict[str, float]] = []
    for step in range(10, 10 * steps + 1, 10):
        loss = 2.3 * math.exp(-step / 150) * math.exp(0.1 * rng.normal())
        records.append(
            {
                "step": step,
                "train/loss": loss,
                "train/accuracy": 1 - math.exp(-step / 100),
                "lr": 0.1 * (1 - step / (10 * steps)),
                "train/images_per_second": 1000 + 10 * rng.normal(),
                "elapsed_seconds": step / 10,
            }
        )
        if step % 50 == 0:
            records.append(
                {
                    "step": step,
                    "test/loss": 2.3 * math.exp(-step / 150) + 0.1,
                    "test/accuracy": 0.9 - 0.8 * math.exp(-step / 100),
                    "test_eval_seconds": 0.5,
                }
            )
    return records


def lines_of(axes) -> dict[str, object]:
    return {line.get_label(): line for line in axes.get_lines()}


def test_panels_are_loss_accuracy_others_learning_rate_throughput():
    records = [{"step": 1, "train/grad_norm": 1.0, "test/psnr": 30.0}, *fake_run(2)]
    titles = [panel.title for panel in curve_panels(records)]
    assert titles == [
        "loss",
        "accuracy",
        "psnr",
        "grad norm",
        "learning rate",
        "images per second",
    ]


def test_any_flat_name_is_grouped_by_its_metric():
    records = [{"step": 1, "train/box/loss": 1.0, "coco/box/loss": 2.0, "coco/AP50": 0.3}]
    panels = {panel.title: panel.names for panel in curve_panels(records)}
    assert panels == {
        "box/loss": ("train/box/loss", "coco/box/loss"),
        "AP50": ("coco/AP50",),
    }


def test_averages_of_sizes_that_no_object_has_are_left_out():
    names = ("AP", "AP_small", "AP_large", "AR_large", "margin")
    never, later = dict.fromkeys(names, -1.0), {"AP_small": 0.5, "AP": 0.1}
    records = [
        {"step": step, **{f"test/{name}": value for name, value in figures.items()}}
        for step, figures in enumerate((never, never | later))
    ]
    assert [panel.title for panel in curve_panels(records)] == ["AP", "AP small", "margin"]


def test_learning_rates_of_groups_share_one_panel():
    records = [{"step": 1, "lr": 0.1, "lr/backbone": 0.01}]
    (panel,) = curve_panels(records)
    assert panel.names == ("lr", "lr/backbone")
    (axes,) = curves_figure(records).axes
    assert [line.get_label() for line in axes.get_lines()] == ["lr", "backbone"]


def test_the_training_curve_is_drawn_raw_and_smoothed():
    records = fake_run()
    axes = curves_figure(records).axes[0]
    raw, average = axes.get_lines()[:2]
    values = np.asarray([record["train/loss"] for record in records if "train/loss" in record])
    np.testing.assert_allclose(raw.get_ydata(), values)
    np.testing.assert_allclose(average.get_ydata(), smooth(values, window=smoothing_window(40)))
    assert average.get_label() == "train"


def test_evaluations_are_marked_and_the_best_one_is_named():
    axes = curves_figure(fake_run()).axes[1]
    lines = lines_of(axes)
    (label,) = [label for label in lines if label.startswith("test")]
    best = max(r["test/accuracy"] for r in fake_run() if "test/accuracy" in r)
    assert label == f"test, best {best:.4g}"
    assert lines[label].get_marker() == "o"
    assert len(lines[label].get_xdata()) == 8


def test_the_best_loss_is_the_lowest():
    axes = curves_figure(fake_run()).axes[0]
    lowest = min(r["test/loss"] for r in fake_run() if "test/loss" in r)
    assert f"test, best {lowest:.4g}" in lines_of(axes)


def test_guessing_is_a_dotted_line_at_its_figure():
    axes = curves_figure(fake_run(), guessing={"loss": math.log(10)}).axes[0]
    assert lines_of(axes)["guessing"].get_ydata()[0] == math.log(10)
    assert "guessing" not in lines_of(curves_figure(fake_run()).axes[0])


def test_nan_is_marked_where_it_begins():
    records = fake_run()
    for record in records:
        if record["step"] >= 200 and "train/loss" in record:
            record["train/loss"] = math.nan
    labels = lines_of(curves_figure(records).axes[0])
    assert "not finite from step 200" in labels


def test_a_loss_over_many_decades_is_drawn_on_a_log_axis():
    steep = [{"step": i, "train/loss": 10.0**-i} for i in range(5)]
    flat = [{"step": i, "train/loss": 2.0 - i / 10} for i in range(5)]
    negative = [{"step": i, "train/loss": -(10.0**i)} for i in range(5)]
    scales = [curves_figure(each).axes[0].get_yscale() for each in (steep, flat, negative)]
    assert scales == ["log", "linear", "linear"]


def test_every_panel_has_the_same_range_of_steps():
    assert len({axes.get_xlim() for axes in curves_figure(fake_run()).axes}) == 1


def test_a_short_curve_is_not_smoothed():
    assert smoothing_window(SMOOTH_FROM - 1) == 1
    assert smoothing_window(400) == 20


@pytest.mark.parametrize(
    "records",
    [
        [],
        [{"step": 1}],
        [{"train/loss": 1.0}],
        [{"step": 1, "train/loss": 1.0}],
        [{"step": 1, "train/loss": math.nan, "test/accuracy": math.inf, "lr": 0.0}],
        [{"step": 5, "elapsed_seconds": 1.0}],
    ],
    ids=["none", "only a step", "no step", "one", "one not finite", "only times"],
)
def test_records_with_little_in_them_still_give_a_picture(tmp_path, records):
    path = tmp_path / "curves.png"
    plot_curves(records, path)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
    assert [each.name for each in tmp_path.iterdir()] == ["curves.png"]


def test_panels_beyond_the_limit_are_named_not_drawn():
    record = {"step": 1} | {f"test/metric{i:02d}": 1.0 for i in range(MAX_PANELS + 2)}
    figure = curves_figure([record])
    assert len(figure.axes) == MAX_PANELS
    assert figure.get_supxlabel() == "not drawn: metric24, metric25"


def test_drawing_never_touches_pyplot():
    code = (
        "import sys; from cvjax.vis.curves import curves_figure; "
        "curves_figure([{'step': 1, 'train/loss': 1.0}]); "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
