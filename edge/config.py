"""The configuration of a run: a strict TOML file into frozen values.

Sections and keys are the fields of the dataclasses below; a key without a default must be there. Unknown sections and
keys are errors, and nothing is converted silently except whole numbers where a number is wanted. Relative paths are
taken from the file's own folder.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from devices.errors import DeviceError
from edge.data import relative_to
from edge.errors import EdgeError
from edge.models.models import find_model
from edge.recipes.recipes import find_recipe
from export.errors import ExportError
from export.target import check_name
from quant.errors import QuantError
from quant.names import suggestion

Texts = tuple[str, ...]
Numbers = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """`[run]`: the name of the run (also the C identifier of its bundles) and the seed of everything random."""

    name: str
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """`[data]`: where images come from (`edge.data.SOURCES`), and a pre-processing other than the source's own.

    `resize` is how applications bring images of other sizes to the network's (`export.preprocess.RESIZES`).
    """

    source: str
    scale: float | None = None
    mean: Numbers = ()
    std: Numbers = ()
    resize: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """`[model]`: one of the project's models by `name`, or a trained network as an `onnx` file.

    `cut` is where head ends and tail begins: a module path for `name` (default: the model's own), a tensor for `onnx`.
    """

    name: str = ""
    onnx: str = ""
    width: int | None = None
    blocks: int | None = None
    cut: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """`[train]`: the recipe, epochs, images per step, peak learning rate."""

    recipe: str = "cross-entropy"
    epochs: int = 20
    batch: int = 64
    rate: float = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantConfig:
    """`[quant]`: schemes by their short names, how many training images calibrate them, and the preset."""

    schemes: Texts
    calibration: int = 256
    preset: str = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """`[export]`: targets of the whole network, targets of head and tail, and test vectors per bundle."""

    targets: Texts
    split_targets: Texts = ()
    vectors: int = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileConfig:
    """`[profile]`: boards, and how long each is measured; the fields of `devices.plan.Plan`."""

    boards: Texts = ()
    windows: int = 10
    window_s: float = 0.2
    warmup_s: float = 0.3
    images: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole configuration. `train` has no effect when `model.onnx` brings a trained network."""

    run: RunConfig
    data: DataConfig
    model: ModelConfig
    train: TrainConfig = field(default_factory=TrainConfig)
    quant: QuantConfig
    export: ExportConfig
    profile: ProfileConfig = field(default_factory=ProfileConfig)


_SECTIONS: dict[str, type[Any]] = {
    "run": RunConfig,
    "data": DataConfig,
    "model": ModelConfig,
    "train": TrainConfig,
    "quant": QuantConfig,
    "export": ExportConfig,
    "profile": ProfileConfig,
}
#: Keys whose value may be 0; every other number must be above it.
_MAY_BE_ZERO = frozenset({"seed", "warmup_s", "mean"})


def read_config(path: Path) -> Config:
    """Read a configuration.

    Raises:
        EdgeError: the file is missing or no TOML, a section or key is unknown or missing, a value has the wrong type or
            range, or sections contradict each other; names file, section and key.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise EdgeError(f"no configuration file {path}.") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise EdgeError(f"{path} is not a readable TOML file: {error}.") from error
    _check_keys(table, list(_SECTIONS), ("run", "data", "model", "quant", "export"), f"{path}: section", "[{}]")
    parts = {name: _section(name, table.get(name, {}), path) for name in _SECTIONS}
    config = Config(**parts)
    return _consistent(config, table, path)


def _section(name: str, values: object, path: Path) -> Any:
    """Read one section into its dataclass."""
    kind = _SECTIONS[name]
    if not isinstance(values, dict):
        raise EdgeError(f"{path}: '{name}' must be a section, [{name}], not a value.")
    known = {entry.name: entry for entry in fields(kind)}
    required = [key for key, entry in known.items() if entry.default is MISSING]
    _check_keys(values, list(known), required, f"{path}: [{name}] key", "'{}'")
    return kind(
        **{key: _value(known[key].type, key, value, f"{path}: [{name}] {key}") for key, value in values.items()}
    )


def _check_keys(values: Mapping[str, object], known: list[str], required: Any, where: str, form: str) -> None:
    for key in values:
        if key not in known:
            allowed = ", ".join(known)
            raise EdgeError(f"{where} {form.format(key)} is unknown.{suggestion(key, known)} Allowed: {allowed}.")
    for key in required:
        if key not in values:
            raise EdgeError(f"{where} {form.format(key)} is missing.")


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: object) -> float | None:
    real = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    return real if math.isfinite(real) else None


def _texts(value: object) -> Texts | None:
    return _list(value, _text)


def _numbers(value: object) -> Numbers | None:
    return _list(value, _number)


def _list(value: object, read: Callable[[object], Any]) -> tuple[Any, ...] | None:
    items = [read(item) for item in value] if isinstance(value, list) else [None]
    return None if None in items else tuple(items)


#: By a field's annotation: how a value is read (None: wrong type), and what is allowed.
_READERS: dict[str, tuple[Callable[[object], Any], str]] = {
    "str": (_text, "a text"),
    "int": (_whole, "a whole number"),
    "float": (_number, "a finite number"),
    "Texts": (_texts, "a list of texts"),
    "Numbers": (_numbers, "a list of finite numbers"),
}


def _value(annotation: object, key: str, value: object, where: str) -> Any:
    read, allowed = _READERS[str(annotation).removesuffix(" | None")]
    result = read(value)
    if result is None:
        raise EdgeError(f"{where} is {value!r}; it must be {allowed}.")
    for item in result if isinstance(result, tuple) else (result,):
        low = item if isinstance(item, int | float) else 1
        if (low < 0 and key != "mean") or (low == 0 and key not in _MAY_BE_ZERO):
            raise EdgeError(f"{where} is {value!r}; it must be {'0 or more' if key in _MAY_BE_ZERO else 'above 0'}.")
    if isinstance(result, tuple) and all(isinstance(item, str) for item in result) and len(set(result)) < len(result):
        raise EdgeError(f"{where} names something twice.")
    return result


def _consistent(config: Config, table: Mapping[str, object], path: Path) -> Config:
    """Check names and what concerns several keys, and take relative paths from the file's folder."""
    base, model = path.absolute().parent, config.model
    if bool(model.name) == bool(model.onnx):
        raise EdgeError(f"{path}: [model] needs 'name' (a model to train) or 'onnx' (a trained one), and not both.")
    if not model.onnx:
        _known(find_model, model.name, f"{path}: [model] name")
        _known(find_recipe, config.train.recipe, f"{path}: [train] recipe")
    else:
        _refuse_training_keys(config, table, path)
        model = replace(model, onnx=str(base / Path(model.onnx).expanduser()))
    _check_names(config, path)
    return replace(config, model=model, data=replace(config.data, source=relative_to(config.data.source, base)))


def _refuse_training_keys(config: Config, table: Mapping[str, object], path: Path) -> None:
    given = [key for key in ("width", "blocks") if getattr(config.model, key) is not None]
    if given or "train" in table:
        what = f"'{given[0]}'" if given else "a section [train]"
        raise EdgeError(f"{path}: [model] onnx is a trained network; {what} has no use with it. Remove it.")
    if config.export.split_targets and not config.model.cut:
        raise EdgeError(f"{path}: [export] split_targets needs [model] cut, the tensor of the ONNX file to cut at.")


def _check_names(config: Config, path: Path) -> None:
    """Check every name that is looked up later, so that a slip shows before the training."""
    from devices.boards import find_board
    from export.preprocess import check_resize
    from export.targets import find_target
    from quant.presets import find_preset
    from quant.scheme import parse_scheme

    _known(check_name, config.run.name, f"{path}: [run] name")
    if config.data.resize is not None:
        _known(check_resize, config.data.resize, f"{path}: [data] resize")
    lookups: tuple[tuple[Callable[[str], object], Texts, str], ...] = (
        (parse_scheme, config.quant.schemes, "[quant] schemes"),
        (find_preset, (config.quant.preset,), "[quant] preset"),
        (find_target, config.export.targets, "[export] targets"),
        (find_target, config.export.split_targets, "[export] split_targets"),
        (find_board, config.profile.boards, "[profile] boards"),
    )
    for lookup, names, where in lookups:
        for name in names:
            _known(lookup, name, f"{path}: {where}")
    for key, names in (("[quant] schemes", config.quant.schemes), ("[export] targets", config.export.targets)):
        if not names:
            raise EdgeError(f"{path}: {key} is empty; name at least one.")
    for name in config.export.split_targets:
        if name not in config.export.targets:
            raise EdgeError(f"{path}: [export] split_targets names '{name}', which is not among targets.")


def _known(lookup: Callable[[str], object], name: str, where: str) -> None:
    try:
        lookup(name)
    except (EdgeError, QuantError, ExportError, DeviceError) as error:
        raise EdgeError(f"{where}: {error}") from error
