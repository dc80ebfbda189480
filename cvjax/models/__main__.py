"""A table of the classifiers: what they cost, how accurate they are said to be, their papers.

python -m cvjax.models ["resnet*" ...] [--markdown] [--plot FILE]

At the size and with the classes that each was published for (1000 of ImageNet's, or 10). Then the
course's summary of the efficiency chart, a verdict to each claim whose models are in the table.
"""

import argparse
from collections.abc import Sequence

from cvjax.models import ModelInfo, create, info, list_models, published
from cvjax.models.chart import judge, plot

_COLUMNS = ("model", "pixels", "parameters", "multiply-adds", "activations", "top-1", "paper")
_WIDTHS = (32, 6, 11, 13, 11, 7, 4)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m cvjax.models", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("pattern", nargs="*", default=["*"], help="shell-style, of model names")
    parser.add_argument("--markdown", action="store_true", help="write the table in Markdown")
    parser.add_argument("--plot", metavar="FILE", help="draw accuracy against multiply-adds")
    options = parser.parse_args()
    patterns = options.pattern
    names = sorted({name for p in patterns for name in list_models(p, kind="classifiers")})
    if not names:
        parser.error(f"no classifier matches {' '.join(patterns)}")
    infos = []
    print(_line(_COLUMNS, markdown=options.markdown))
    if options.markdown:
        print("| --- | ---: | ---: | ---: | ---: | ---: | --- |")
    for name in names:
        found = info(name, num_classes=published.made_for(name).num_classes)
        infos.append(found)
        print(
            _line(_cells(found, markdown=options.markdown), markdown=options.markdown), flush=True
        )
    verdicts = judge(infos)
    if verdicts:
        print("\nThe course's summary of the efficiency chart:\n")
        if options.markdown:
            print("| claim | verdict | evidence |\n| --- | --- | --- |")
        for found in verdicts:
            if options.markdown:
                print(f"| {found.statement} | {found.verdict} | {found.evidence} |")
            else:
                print(f"{found.verdict:12}  {found.statement}\n{'':14}{found.evidence}")
    if options.plot:
        families = {name: type(create(name, num_classes=1)).__module__ for name in names}
        families = {name: module.rpartition(".")[2] for name, module in families.items()}
        drawn = plot(infos, families, options.plot)
        print(f"\n{drawn} of {len(infos)} models have a published accuracy: {options.plot}")


def _cells(found: ModelInfo, *, markdown: bool) -> Sequence[str]:
    paper = "-"
    if found.paper:
        paper = str(found.paper.year)
        paper = f"[{paper}]({found.paper.link})" if markdown else f"{paper} {found.paper.link}"
    return (
        found.name,
        str(found.image_size),
        f"{found.parameters:,}",
        f"{found.multiply_adds / 1e9:.3f} G",
        f"{found.activations / 1e6:.2f} M",
        "unknown" if found.top1 is None else f"{found.top1:.2f}",
        paper,
    )


def _line(cells: Sequence[str], *, markdown: bool) -> str:
    if markdown:
        return f"| {' | '.join(cells)} |"
    first, *middle, last = (
        (cell.ljust if i in (0, len(cells) - 1) else cell.rjust)(width)
        for i, (cell, width) in enumerate(zip(cells, _WIDTHS))
    )
    return "  ".join((first, *middle, last)).rstrip()


if __name__ == "__main__":
    main()
