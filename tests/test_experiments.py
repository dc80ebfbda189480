"""Claims are judged right, results are checked against claim and code, tables follow results."""

import copy
import json
import math
import platform
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # experiments/ is no part of the installed package

from experiments import machine, runner, tables  # noqa: E402
from experiments.__main__ import main  # noqa: E402
from experiments.claim import (  # noqa: E402
    DID_NOT_HOLD,
    HELD,
    NEEDS_DATA,
    NOT_RUN,
    RESULTS,
    Claim,
    Row,
    Training,
    best,
    last,
    load_claims,
    of_stage,
    on_own_data,
    training_minutes,
)

RECORDS = [
    {"step": 10, "train/loss": 1.0, "elapsed_seconds": 30.0},
    {"step": 10, "test/accuracy": 0.95, "test/loss": 0.3},
    {"step": 20, "train/loss": 0.5, "elapsed_seconds": 90.0},
    {"step": 20, "test/accuracy": 0.9, "test/loss": 0.2},
]
TRAINING = Training(config="configs/classification/lenet_digits.py")

# Stands in for launch.py: writes what a run leaves behind.
LAUNCH = """
import json, pathlib, sys
assert sys.argv[1:4:2] == ["--config", "--workdir"], sys.argv
workdir = pathlib.Path(sys.argv[4])
assert list(workdir.iterdir()) == []
workdir.joinpath("metrics.jsonl").write_text('{"step": 1, "test/accuracy": 0.975}\\n')
environment = {"backend": "gpu", "devices": ["gpu:0 Fast Chip"], "num_devices": 8}
workdir.joinpath("environment.json").write_text(json.dumps(environment))
with open("launched", "a") as file:
    file.write(" ".join(sys.argv[2:]) + "\\n")
sys.exit("fail" in sys.argv[2])
"""


def row(ours=4.0, **options) -> Row:
    return Row(**({"name": "figure", "expected": 4.0, "measure": lambda: ours} | options))


def claim_of(*rows: Row) -> Claim:
    return Claim(statement="Four is four", source="arithmetic", rows=rows)


CONFIG = """
from ml_collections import ConfigDict

def get_config(arg):
    return ConfigDict({"seed": arg})
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder that stands in for the repository."""
    (tmp_path / "launch.py").write_text(LAUNCH)
    (tmp_path / "configs" / "classification").mkdir(parents=True)
    for config in ("config.py", "fail.py", TRAINING.config):
        (tmp_path / config).write_text(CONFIG)
    monkeypatch.setattr(runner, "ROOT", tmp_path)
    monkeypatch.setattr(runner, "missing_data", lambda training: "")
    return tmp_path


@pytest.mark.parametrize(
    ("options", "ours", "verdict"),
    [
        ({}, 4.0, HELD),
        ({}, 4.0000001, DID_NOT_HOLD),
        ({"tolerance": 0.1}, 4.1, HELD),
        ({"tolerance": 0.1}, 4.11, DID_NOT_HOLD),
        ({"relation": "at least"}, 5.0, HELD),
        ({"relation": "at least"}, 3.9, DID_NOT_HOLD),
        ({"relation": "at least", "tolerance": 0.2}, 3.9, HELD),
        ({"relation": "at most"}, 3.0, HELD),
        ({"relation": "at most"}, 4.1, DID_NOT_HOLD),
        ({"expected": (26, 26, 32)}, (26, 26, 32), HELD),
        ({"expected": (26, 26, 32)}, (26, 26), DID_NOT_HOLD),
        ({"expected": (26, 26)}, (26, 27), DID_NOT_HOLD),
        ({}, math.nan, DID_NOT_HOLD),
        ({"relation": "at least"}, math.nan, DID_NOT_HOLD),
        ({"relation": "at most"}, math.nan, DID_NOT_HOLD),
        ({}, None, NEEDS_DATA),
    ],
)
def test_verdicts(options, ours, verdict):
    assert row(**options).verdict(ours) == verdict


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"relation": "above"}, "relation is 'above'"),
        ({"tolerance": -1.0}, "tolerance is -1"),
        ({"relation": "at most", "expected": (1, 2)}, "a tuple cannot be"),
        ({"holds": False}, "needs a note"),
    ],
)
def test_a_row_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        row(**options)


def test_rows_with_one_name_are_refused():
    with pytest.raises(ValueError, match="figure"):
        claim_of(row(), row())


def test_figures_are_read_from_a_runs_records():
    assert last("test/accuracy")(RECORDS) == 0.9
    assert best("test/accuracy")(RECORDS) == 0.95
    assert best("test/loss")(RECORDS) == 0.2
    assert training_minutes(RECORDS) == 1.5
    assert math.isnan(last("test/psnr")(RECORDS))
    assert math.isnan(best("test/psnr")(RECORDS))


def test_an_unknown_claim_is_named_with_those_that_exist():
    with pytest.raises(ValueError, match=r"lenet\. There are: .*course_arithmetic"):
        load_claims(["lenet"])


def test_the_courses_arithmetic_is_reproduced_by_the_code():
    (claim,) = load_claims(["course_arithmetic"]).values()
    assert runner.check_claim("course_arithmetic", claim) == []
    assert all(each.training is None and each.holds for each in claim.rows)


def test_every_committed_result_is_of_a_claim_as_it_stands():
    claims = load_claims()
    for path in RESULTS.glob("*.json"):
        assert runner.check_claim(path.stem, claims[path.stem], recompute=False) == []


def test_a_result_names_kinds_of_machines_and_no_machine():
    for path in RESULTS.glob("*.json"):
        content = path.read_text(encoding="utf-8")
        assert platform.node() not in content
        assert str(Path.home()) not in content


def test_rows_of_one_training_are_read_from_one_run(checkout):
    rows = (
        Row("test accuracy", 0.97, last("test/accuracy"), TRAINING, "at least", unit="accuracy"),
        Row("test error", 0.03, lambda r: 1 - last("test/accuracy")(r), TRAINING, "at most"),
    )
    result = runner.run_claim("toy", claim_of(*rows), environment={})
    assert [each["verdict"] for each in result["rows"]] == [HELD, HELD]
    assert [each["ours"] for each in result["rows"]] == [0.975, pytest.approx(0.025)]
    assert result["rows"][0]["machine"].startswith("8 x Fast Chip, ")
    assert result["rows"][0]["command"] == (
        "python launch.py --config configs/classification/lenet_digits.py "
        "--workdir runs/lenet_digits"
    )
    assert (checkout / "launched").read_text().count("\n") == 1


def test_every_run_of_a_claim_gets_a_fresh_workdir(checkout):
    claim = claim_of(Row("accuracy", 0.9, last("test/accuracy"), TRAINING, "at least"))
    for _ in range(2):
        runner.run_claim("toy", claim, environment={})
    launched = (checkout / "launched").read_text().split()
    assert launched[2::3] == ["runs/experiments/toy-1", "runs/experiments/toy-2"]


def test_a_training_that_fails_is_an_error(checkout):
    claim = claim_of(Row("accuracy", 0.9, last("test/accuracy"), Training("fail.py")))
    with pytest.raises(RuntimeError, match="exit status 1"):
        runner.run_claim("toy", claim, environment={})


def test_a_training_without_its_data_is_not_started(checkout, monkeypatch):
    monkeypatch.setattr(runner, "missing_data", lambda training: "no images in data/")
    rows = (row(), Row("accuracy", 0.9, last("test/accuracy"), TRAINING, "at least"))
    result = runner.run_claim("toy", claim_of(*rows), environment={})
    assert [each["verdict"] for each in result["rows"]] == [HELD, NEEDS_DATA]
    assert result["rows"][1]["ours"] is None
    assert result["missing_data"] == "no images in data/"
    assert not (checkout / "launched").exists()


# Likewise, of a run with two stages, whose accuracies follow from the seed behind the colon.
LAUNCH_STAGES = """
import json, pathlib, sys
workdir, seed = pathlib.Path(sys.argv[4]), int(sys.argv[2].partition(":")[2])
assert list(workdir.iterdir()) == [], "the workdir is a fresh one"
names = ["stage1_head", "stage2_finetune"]
for gain, name in zip((0.0, 0.125), names):
    workdir.joinpath(name).mkdir()
    line = json.dumps({"step": 1, "test/accuracy": seed / 8 + gain})
    workdir.joinpath(name, "metrics.jsonl").write_text(line + "\\n")
workdir.joinpath("stages.json").write_text(json.dumps({"stages": [{"stage": n} for n in names]}))
with open("launched", "a") as file:
    file.write(f"{seed}\\n")
sys.exit(seed == 9)
"""


def seeded(*seeds) -> tuple[tuple[Training, ...], ...]:
    return tuple((Training(f"config.py:{seed}"),) for seed in seeds)


def head(records):
    return of_stage("stage1_head", last("test/accuracy"))(records)


def gain(records):
    return of_stage("stage2_finetune", last("test/accuracy"))(records) - head(records)


def test_repeated_runs_are_averaged_kept_and_counted_where_cut_short(checkout):
    (checkout / "launch.py").write_text(LAUNCH_STAGES)
    rows = (
        Row("frozen", 0.3, head, relation="at least", repetitions=seeded(1, 4)),
        Row("gain", 0.125, gain, repetitions=seeded(1, 4)),
        Row("both", 0.5, lambda a, b: head(b) - head(a), repetitions=(*zip(*seeded(2, 6)),)),
    )
    result = runner.run_claim("toy", claim_of(*rows), environment={}, jobs=2)
    assert [each["ours"] for each in result["rows"]] == [0.3125, 0.125, 0.5]
    assert [each["values"] for each in result["rows"]] == [[0.125, 0.5], [0.125] * 2, [0.5]]
    assert [each["verdict"] for each in result["rows"]] == [HELD] * 3
    assert sorted((checkout / "launched").read_text().split()) == ["1", "2", "4", "6"]
    assert result["rows"][1]["minutes"] == 0  # those runs are the first row's already

    # Another claim with a run of these takes it as it is.
    other = runner.run_claim("other", claim_of(rows[0]), environment={}, finished_only=True)
    assert other["rows"][0]["values"] == [0.125, 0.5]

    # After a change of the config it is another run.
    (checkout / "config.py").write_text(CONFIG.replace('"seed": arg', '"seed": arg + "0"'))
    stale = runner.run_claim("toy", claim_of(rows[0]), environment={}, finished_only=True)
    assert stale["rows"][0]["verdict"] == NOT_RUN
    (checkout / "config.py").write_text(CONFIG)

    kept = checkout / "runs" / "experiments" / "kept"
    done = next(p for p in kept.glob("*/done.json") if "config.py:4" in p.read_text())
    done.unlink()  # as if it had been killed
    partial = runner.run_claim("toy", claim_of(*rows), environment={}, finished_only=True)
    assert [each["values"] for each in partial["rows"]] == [[0.125], [0.125], [0.5]]
    assert partial["rows"][0]["verdict"] == DID_NOT_HOLD
    shutil.rmtree(kept)
    nothing = runner.run_claim("toy", claim_of(*rows), environment={}, finished_only=True)
    assert [each["verdict"] for each in nothing["rows"]] == [NOT_RUN] * 3
    assert (checkout / "launched").read_text().split().count("4") == 1
    again = runner.run_claim("toy", claim_of(*rows), environment={})
    assert [each["values"] for each in again["rows"]] == [each["values"] for each in result["rows"]]
    assert (checkout / "launched").read_text().split().count("4") == 2


def test_the_first_repetition_of_every_row_comes_first_and_a_failure_starts_no_more(checkout):
    (checkout / "launch.py").write_text(LAUNCH_STAGES)
    rows = (
        Row("one", 0.0, head, relation="at least", repetitions=seeded(1, 9, 3)),
        Row("other", 0.0, head, relation="at least", repetitions=seeded(2)),
    )
    with pytest.raises(RuntimeError, match="exit status 1"):
        runner.run_claim("toy", claim_of(*rows), environment={})
    assert (checkout / "launched").read_text().split() == ["1", "2", "9"]


def test_a_claim_runs_on_ones_own_folder_where_its_file_says_how(tmp_path):
    claim, name = on_own_data("chollet2017_ladder", str(tmp_path))
    assert name == f"chollet2017_ladder-{tmp_path.name}"
    configs = {t.config for each in claim.rows for group in each.repetitions for t in group}
    assert len(configs) == 8
    assert all(config.endswith(f",path={tmp_path}") for config in configs)
    with pytest.raises(ValueError, match="runs on its own data alone"):
        on_own_data("course_arithmetic", str(tmp_path))
    with pytest.raises(ValueError, match="there is no folder"):
        on_own_data("chollet2017_ladder", str(tmp_path / "none"))


def test_a_mean_that_is_not_of_its_values_is_found(tmp_path, checkout):
    (checkout / "launch.py").write_text(LAUNCH_STAGES)
    claim = claim_of(Row("frozen", 0.3, head, relation="at least", repetitions=seeded(1, 4)))
    result = runner.run_claim("toy", claim, environment={})
    runner.write_result(result, tmp_path)
    assert runner.check_claim("toy", claim, folder=tmp_path) == []
    result["rows"][0]["values"][0] = 0.25
    runner.write_result(result, tmp_path)
    (problem,) = runner.check_claim("toy", claim, folder=tmp_path)
    assert "is not the mean of [0.25, 0.5]" in problem


@pytest.mark.parametrize("kept", [False, True])
def test_a_result_of_a_config_that_has_changed_is_found_until_it_is_accepted(checkout, kept):
    run = {"repetitions": ((TRAINING,),)} if kept else {"training": TRAINING}
    claim = claim_of(Row("test accuracy", 0.9, last("test/accuracy"), relation="at least", **run))
    asked = {"folder": checkout, "recompute": False}
    runner.write_result(runner.run_claim("toy", claim, environment={}), checkout)
    assert runner.check_claim("toy", claim, **asked) == []

    (checkout / TRAINING.config).write_text(CONFIG.replace('"seed"', '"width"'))
    (problem,) = runner.check_claim("toy", claim, **asked)
    assert "its config has changed since `python launch.py --config configs/class" in problem
    (command,) = runner.accept_settings("toy", claim, folder=checkout)
    assert command.endswith("--workdir runs/lenet_digits")
    assert runner.check_claim("toy", claim, **asked) == []
    if kept:
        again = runner.run_claim("toy", claim, environment={}, finished_only=True)
        assert again["rows"][0]["verdict"] == HELD
        assert (checkout / "launched").read_text().count("\n") == 1
    assert runner.accept_settings("toy", claim, folder=checkout) == []
    with pytest.raises(ValueError, match="there is no result"):
        runner.accept_settings("never", claim, folder=checkout)


@pytest.fixture
def stored(tmp_path):
    """A claim, and a function that stores its result after a change."""
    rows = (row(name="a"), row(name="b", ours=(1, 2), expected=(1, 2)), row(name="c", ours=9.0))
    rows = (*rows[:2], row(name="c", ours=9.0, holds=False, note="it is nine"))
    claim = claim_of(*rows)
    result = runner.run_claim("toy", claim, environment={})

    def store(change=lambda result: None) -> None:
        changed = copy.deepcopy(result)
        change(changed)
        runner.write_result(changed, tmp_path)

    return claim, store


def test_a_result_as_it_was_written_checks(stored, tmp_path):
    claim, store = stored
    store()
    assert runner.check_claim("toy", claim, folder=tmp_path) == []


def change_row(index, **changes):
    return lambda result: result["rows"][index].update(changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_row(0, ours=5), "'held' and is 'did not hold'"),
        (change_row(0, ours=5, verdict=DID_NOT_HOLD), "stated to hold"),
        (change_row(2, ours=4, verdict=HELD), "stated to not hold"),
        (change_row(0, expected=5), "another expected"),
        (change_row(1, tolerance=1.0, note="x"), "another tolerance and note"),
        (change_row(0, name="z"), "other rows"),
        (lambda result: result["rows"].pop(), "other rows"),
        (change_row(1, ours=[1, 3]), r"the code now gives \(1, 2\)"),
        (change_row(0, ours="nan", verdict=DID_NOT_HOLD), "the code now gives 4"),
    ],
)
def test_a_result_that_was_tampered_with_or_is_stale_is_found(stored, tmp_path, change, message):
    claim, store = stored
    store(change)
    problems = "\n".join(runner.check_claim("toy", claim, folder=tmp_path))
    with pytest.raises(ValueError, match=message):
        raise ValueError(problems)


def test_a_claim_that_was_never_run_is_found(tmp_path):
    (problem,) = runner.check_claim("toy", claim_of(row()), folder=tmp_path)
    assert "python -m experiments --run toy" in problem


def test_nan_survives_the_file(tmp_path):
    claim = claim_of(row(ours=math.nan, holds=False, note="a NaN"))
    runner.write_result(runner.run_claim("toy", claim, environment={}), tmp_path)
    json.loads((tmp_path / "toy.json").read_text(), parse_constant=pytest.fail)
    assert runner.check_claim("toy", claim, folder=tmp_path, recompute=False) == []


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ({}, ""),
        ({"backend": "cpu", "devices": ["cpu:0 cpu"], "num_devices": 8}, ""),
        (
            {"backend": "tpu", "devices": ["tpu:0 TPU v5e"], "num_devices": 4},
            "4 x TPU v5e",
        ),
    ],
)
def test_accelerators_are_named_by_number_and_kind(environment, kind):
    assert machine.accelerator_kind(environment) == kind


# Tables


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "experiments" / "results"
    folder.mkdir(parents=True)
    rows = (
        row(name="parameters | all", expected=421_642, ours=421_642),
        row(name="map", expected=(26, 26, 32), ours=(26, 26, 32)),
        row(name="loss", ours=4.00123, tolerance=0.005, unit="nats"),
    )
    runner.write_result(runner.run_claim("toy", claim_of(*rows), environment={}), folder)
    return tmp_path


def readme_of(root: Path, body: str) -> Path:
    path = root / "README.md"
    path.write_text(body)
    return path


def test_a_claims_table_has_its_rows_for_readers(root):
    lines = tables.render_table("toy", root=root).splitlines()
    assert lines[:5] == [
        "| figure | expected | ours | verdict |",
        "| --- | ---: | ---: | --- |",
        r"| parameters \| all | 421,642 | 421,642 | held |",
        "| map | 26 × 26 × 32 | 26 × 26 × 32 | held |",
        "| loss | 4 nats ± 0.005 | 4.0012 nats | held |",
    ]
    assert lines[-1].endswith("`python -m experiments --run toy`")


def test_repeated_figures_show_their_spread_and_number(root):
    path = root / "experiments" / "results" / "toy.json"
    result = json.loads(path.read_text())
    for each, values in zip(result["rows"], ([0.5, 0.7], [0.6])):
        each |= {"unit": "accuracy", "ours": 0.6, "values": values}
    path.write_text(json.dumps(result))
    text = tables.render_table("toy", root=root)
    assert "| 60% ± 14.14% (2 runs) |" in text
    assert "| 60% (1 run) |" in text


def test_trained_rows_and_claims_have_tables(root, checkout):
    rows = (
        Row("test accuracy", 0.97, last("test/accuracy"), TRAINING, "at least", unit="accuracy"),
        row(name="computed"),
    )
    result = runner.run_claim("lenet", claim_of(*rows), environment={})
    result["rows"][0] |= {"minutes": 1.25, "machine": "Chip, 2 cores"}
    runner.write_result(result, root / "experiments" / "results")
    trained = tables.render_table("trained", root=root).splitlines()
    assert trained[2:] == [
        f"| `{result['rows'][0]['command']}` | test accuracy | ≥ 97% | 97.5% | held | 1.25 "
        "| Chip, 2 cores |"
    ]
    claims = tables.render_table("claims", root=root)
    assert "| Four is four | arithmetic | 2 held | 1.2 |" in claims
    assert "| Four is four | arithmetic | 3 held | 0.0 |" in claims


def test_a_benchmarks_table_takes_its_columns_from_the_file(root):
    folder = root / "benchmarks" / "results"
    folder.mkdir(parents=True)
    result = {
        "command": "python -m benchmarks.speed",
        "machine": "Chip, 2 cores",
        "columns": {"name": "what", "rate": "images/s"},
        "rows": [{"rate": 310_000.0, "name": "ours", "seed": 0}, {"rate": 17_000, "name": "peer"}],
    }
    (folder / "speed.json").write_text(json.dumps(result))
    assert tables.render_table("benchmarks/speed", root=root).splitlines() == [
        "| what | images/s |",
        "| --- | ---: |",
        "| ours | 310,000 |",
        "| peer | 17,000 |",
        "",
        "Chip, 2 cores; `python -m benchmarks.speed`",
    ]
    del result["columns"]
    (folder / "speed.json").write_text(json.dumps(result))
    assert "| rate | name | seed |" in tables.render_table("benchmarks/speed", root=root)


def test_a_benchmark_by_workload_has_a_column_for_it(root):
    folder = root / "benchmarks" / "results"
    folder.mkdir(parents=True)
    result = {
        "environment": {"backend": "cpu", "cpu": "Some(R) Chip CPU @ 2 GHz", "cpu_cores": 2},
        "aim": "at least as fast",
        "results": {
            "digits": [{"library": "ours", "speed": 2.5, "rounds": [2, 3]}],
            "jpeg": [{"library": "peer", "speed": None, "rounds": []}],
        },
    }
    (folder / "input.json").write_text(json.dumps(result))
    assert tables.render_table("benchmarks/input", root=root).splitlines() == [
        "| workload | library | speed |",
        "| --- | --- | ---: |",
        "| digits | ours | 2.5 |",
        "| jpeg | peer | – |",
        "",
        "Some Chip, 2 cores; at least as fast",
    ]


@pytest.mark.parametrize("content", [{}, {"rows": 3}, {"results": {"a": 1}}])
def test_a_result_without_rows_is_an_error(root, content):
    (root / "experiments" / "results" / "odd.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"table odd: odd.json has neither"):
        tables.render_table("odd", root=root)


def test_tables_are_written_once_and_nothing_else_changes(root):
    text = "# Title\n\n<!-- table:toy -->\nold\n<!-- /table -->\ntail <!-- a comment -->\n"
    readme = readme_of(root, text)
    assert tables.write_tables(readme, root=root) == ["toy"]
    assert tables.write_tables(readme, root=root) == []
    assert tables.stale_tables(readme, root=root) == []
    written = readme.read_text()
    assert written.startswith("# Title\n\n<!-- table:toy -->\n| figure |")
    assert written.endswith("\n<!-- /table -->\ntail <!-- a comment -->\n")


def test_a_typed_figure_is_found(root):
    readme = readme_of(root, "<!-- table:toy -->\n<!-- /table -->\n")
    tables.write_tables(readme, root=root)
    readme.write_text(readme.read_text().replace("421,642", "421,643", 1))
    (problem,) = tables.stale_tables(readme, root=root)
    assert "table toy differs" in problem


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("<!-- table:toy -->\n", "need an opening line"),
        ("<!-- /table -->\n", "need an opening line"),
        ("<!-- table:toy -->\n<!-- table:toy -->\n<!-- /table -->\n", "need an opening line"),
        ("<!-- table:nothing -->\n<!-- /table -->\n", "there is no nothing.json"),
    ],
)
def test_a_table_that_cannot_be_made_is_an_error(root, body, message):
    readme = readme_of(root, body)
    with pytest.raises(ValueError, match=message):
        tables.write_tables(readme, root=root)
    (problem,) = tables.stale_tables(readme, root=root)
    assert message in problem
    assert readme.read_text() == body


def test_no_readme_has_no_fresh_tables(root):
    assert tables.stale_tables(root / "README.md", root=root) == ["README.md does not exist"]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (421_642, "", "421,642"),
        (0.9861, "accuracy", "98.61%"),
        (0.98, "accuracy", "98%"),
        (2.302585, "", "2.3026"),
        (1.5, "min", "1.5 min"),
        (6_494_123.4, "", "6,494,123"),
        (0.000123456, "", "0.0001235"),
        ((5, 5), "pixels", "5 × 5 pixels"),
        (None, "min", "–"),
        ("fast", "", "fast"),
    ],
)
def test_values_are_written_for_readers(value, unit, text):
    assert tables.format_value(value, unit) == text


# The command line


def test_listing_names_every_claim(capsys):
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in load_claims())


def test_a_wrong_command_line_exits_with_2(capsys):
    assert main([]) == 2
    assert main(["--run", "no_such_claim"]) == 2
    assert "no_such_claim" in capsys.readouterr().err


def test_a_failed_check_exits_with_1(monkeypatch, capsys):
    monkeypatch.setattr("experiments.__main__.check_claim", lambda name, claim: [f"{name}: bad"])
    assert main(["--check", "course_arithmetic"]) == 1
    assert "course_arithmetic: bad" in capsys.readouterr().err
    monkeypatch.setattr("experiments.__main__.check_claim", lambda name, claim: [])
    assert main(["--check", "course_arithmetic"]) == 0
