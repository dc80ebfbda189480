"""The README is true: CI runs its commands, its paths exist, its tables are the results'."""

import re
from pathlib import Path

import pytest

from experiments.__main__ import DOCUMENTS
from experiments.tables import stale_tables

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def commands(section: str) -> list[str]:
    body = README.split(f"## {section}\n")[1].split("\n## ")[0]
    return [
        line for block in re.findall(r"```bash\n(.*?)```", body, re.DOTALL)
        for line in block.strip().splitlines()
    ]  # fmt: skip


def test_ci_runs_exactly_the_commands_of_the_start():
    ci = (ROOT / ".ci" / "run").read_text().splitlines()
    start = commands("Start")
    assert len(start) == 2
    positions = [ci.index(command) for command in start]
    assert positions == sorted(positions)


def test_every_flag_that_the_readme_uses_exists():
    flags = set(re.findall(r"--([a-z_]+)[ =]", "\n".join(commands("Use"))))
    defined = re.findall(r'DEFINE_\w+\("(\w+)"', (ROOT / "launch.py").read_text())
    assert flags - {"config"} <= set(defined)


@pytest.mark.parametrize(
    "document", [*DOCUMENTS, ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name
)
def test_every_path_that_a_document_names_exists(document):
    text = document.read_text()
    named = re.findall(r"\b((?:configs|docs|cvjax|tests|experiments)/[\w./]*\w)(?!\w*[<*])", text)
    missing = [
        path for path in named
        if not (ROOT / path).exists() and "NAME" not in path and text.split(path)[1][:1] not in "<*"
    ]  # fmt: skip
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_tables_are_those_of_the_results(document):
    assert stale_tables(document) == []
