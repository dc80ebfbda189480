"""The house's rules, read off the source: who imports whom, what a light import may pull in."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "cvjax"

# What each part may import besides itself. Anything not named here is refused.
MAY_IMPORT = {
    "ops": set(),
    "image": {"ops"},
    "losses": {"ops"},
    "metrics": {"ops"},
    "nn": {"ops"},
    "models": {"nn", "ops"},
    "pretrained": {"models"},
    "data": {"ops", "image"},
    "tasks": {"losses", "metrics", "ops", "image"},
    "evaluators": {"metrics", "ops", "data"},
    "vis": {"ops", "image"},
    "train": {"evaluators", "metrics", "data", "ops", "vis"},
    "config": set(),
    "process_memory": set(),
    "build": {"config", "data", "evaluators", "image", "losses", "metrics", "models", "nn", "ops",
              "pretrained", "tasks", "train", "vis"},
    "predict": {"build", "config", "data", "ops", "process_memory", "train", "vis"},
}  # fmt: skip
VAGUE_NAMES = re.compile(r"(utils?|misc|helpers?|base|common)\.py")
# State and I/O have no place where functions are pure.
PURE = ("ops", "image", "losses", "metrics", "nn", "models", "tasks")
IMPURE_MODULES = {"logging", "os", "pathlib", "random", "shutil", "subprocess", "time"}


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide who imports whom"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize("layer", ["Conv", "Dense"])
def test_layers_are_those_that_are_fast_on_a_cpu(layer):
    plain = [path.name for path in files() if f"nn.{layer}(" in path.read_text()]
    own = f"{layer.lower()}.py"
    assert set(plain) <= {own}, f"use cvjax.nn.{own}'s {layer}, with Flax's fields and parameters"


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_every_file_imports_only_what_its_part_may(path):
    part = part_of(path)
    if part == "__init__":
        assert imported_modules(path) == []
        return
    allowed = {part, *MAY_IMPORT[part]}
    for name in imported_modules(path):
        top, *rest = name.split(".")
        assert top not in ("configs", "experiments", "benchmarks", "launch"), name
        if top == "cvjax":
            assert rest[0] in allowed, f"{part} must not import {name}"


@pytest.mark.parametrize(
    "path", [p for p in files() if p.parent.parent.name == "models"], ids=lambda p: p.stem
)
def test_no_model_file_imports_another(path):
    for name in imported_modules(path):
        assert not name.startswith("cvjax.models"), f"{path.name} imports {name}; use cvjax/nn"


@pytest.mark.parametrize(
    "path", [p for p in files() if part_of(p) in PURE], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_pure_parts_touch_neither_files_nor_clocks(path):
    tops = {name.split(".")[0] for name in imported_modules(path)}
    assert not tops & IMPURE_MODULES


def test_no_file_has_a_name_that_says_nothing():
    tracked = [p for top in ("cvjax", "configs", "experiments", "benchmarks", "tests")
               for p in (ROOT / top).rglob("*.py")]  # fmt: skip
    assert [p for p in tracked if VAGUE_NAMES.fullmatch(p.name)] == []


def test_launch_stays_short():
    assert len((ROOT / "launch.py").read_text().splitlines()) < 80


def test_no_default_hides_in_a_config_get():
    offenders = [
        str(path)
        for path in files()
        if part_of(path) not in ("build", "config", "vis")  # where sections are completed; readers
        and re.search(r"\bconfig(\.\w+)*\.get\(", path.read_text())
    ]
    assert offenders == []


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return {name.split(".")[0] for name in result.stdout.split()}


def test_models_import_without_data_loading_or_plotting():
    heavy = {"tensorflow", "tensorflow_datasets", "grain", "clu", "matplotlib", "torch", "PIL"}
    assert (
        not loaded_by("import cvjax.models; cvjax.models.create('lenet5', num_classes=10)") & heavy
    )


def test_the_training_path_imports_neither_tensorflow_nor_torch():
    assert not loaded_by("import cvjax.build, cvjax.train.loop") & {"tensorflow", "torch", "keras"}
