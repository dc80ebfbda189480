"""Command line of the claims: list them, run one, check results, write the documents' tables."""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence

from experiments.claim import RESULTS, ROOT, load_claims, on_own_data
from experiments.runner import accept_settings, check_claim, read_result, run_claim, write_result
from experiments.tables import stale_tables, write_tables

# Whose tables are written from results.
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def main(arguments: Sequence[str]) -> int:
    """The exit status: 0 if nothing is wrong, 1 if a check failed, 2 for a wrong command."""
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    parser.add_argument("--list", action="store_true", help="the claims and what is known of them")
    parser.add_argument("--run", nargs="+", metavar="NAME", help="run claims, write results/*.json")
    parser.add_argument(
        "--check",
        nargs="*",
        metavar="NAME",
        help="compare results with claims, recompute what is cheap; without a name: everything, "
        "the tables of README.md and docs/ too",
    )
    parser.add_argument("--tables", action="store_true", help="rewrite the documents' tables")
    parser.add_argument("--jobs", type=int, default=1, help="with --run: so many runs at a time")
    parser.add_argument(
        "--finished",
        action="store_true",
        help="with --run: of claims that repeat runs, count those that have finished, start none",
    )
    parser.add_argument(
        "--same",
        nargs="+",
        metavar="NAME",
        help="no figure of these claims depends on what changed in their configs: results and kept "
        "runs pass for measured with the configs as they are",
    )
    parser.add_argument(
        "--data.path",
        dest="data_path",
        metavar="FOLDER",
        help="with --run: on your own class folders; the result goes to runs/experiments",
    )
    options = parser.parse_args(arguments)
    asked = (options.list, options.run, options.same, options.tables, options.check is not None)
    if not any(asked):
        parser.print_usage()
        return 2

    # What is computed in this process is small and exact: it needs no accelerator, and must not
    # take its memory from the training runs, which get the environment as it was.
    environment = dict(os.environ)
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    try:
        if options.list:
            _list()
        for name, claim in load_claims(options.run).items() if options.run else ():
            folder = RESULTS
            if options.data_path:
                claim, name = on_own_data(name, options.data_path)
                folder = ROOT / "runs" / "experiments"
            print(f"{name}: {claim.statement}")
            how = {"jobs": options.jobs, "finished_only": options.finished}
            result = run_claim(name, claim, environment, **how)
            print(f"wrote {write_result(result, folder).relative_to(ROOT)}")
        for name, claim in load_claims(options.same).items() if options.same else ():
            changed = accept_settings(name, claim)
            print("\n  ".join([f"{name}: {len(changed)} run(s) of changed configs", *changed]))
        if options.tables:
            for document in DOCUMENTS:
                changed = write_tables(document)
                print(f"{document.name}: {', '.join(changed) if changed else 'no table'} changed")
        return _check(options.check) if options.check is not None else 0
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2


def _list() -> None:
    for name, claim in load_claims().items():
        result = read_result(name)
        verdicts = Counter(row["verdict"] for row in result["rows"]) if result else {}
        known = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
        print(f"{name}: {claim.statement}\n  {len(claim.rows)} rows; {known or 'never run'}")


def _check(names: Sequence[str]) -> int:
    problems = []
    for name, claim in load_claims(names).items():
        found = check_claim(name, claim)
        print(f"{name}: {'ok' if not found else f'{len(found)} problem(s)'}")
        problems += found
    if not names:
        problems += [problem for document in DOCUMENTS for problem in stale_tables(document)]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
