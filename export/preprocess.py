"""Pre-processing: how raw images become the network's float input. Declared once, it travels with the bundle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

import numpy as np
import numpy.typing as npt

from export.errors import ExportError

LAYOUT = "NCHW"
#: Types that raw values may have: pixels, features of a quantised front end, anything else.
RAW_TYPES = ("uint8", "int8", "float32")
#: How images of another size are brought to the network's; `crop` first cuts out the middle in the network's shape.
RESIZES = ("nearest", "bilinear", "crop-nearest", "crop-bilinear")
#: Sides that keep the integer arithmetic of a resize within 32 bits.
MAX_SIDE = 16384


@dataclass(frozen=True, slots=True)
class Preprocess:
    """What happens to each value: (x * scale - mean[channel]) / std[channel].

    `mean` and `std` have one value per channel, in units of the scaled values. `layout` names the axes of the images,
    `raw` the type of their values. `resize` is one of RESIZES, or None where every image has the network's size.
    """

    channels: int
    height: int
    width: int
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layout: str = LAYOUT
    raw: str = RAW_TYPES[0]
    resize: str | None = None

    def __post_init__(self) -> None:
        """Refuse values that have no meaning, so that every `Preprocess` in the program can be applied."""
        if self.resize is not None and max(self.shape) > MAX_SIDE:
            raise ExportError(f"pre-processing that resizes to {self.shape}; no side may be above {MAX_SIDE}.")
        if min(self.shape) < 1:
            raise ExportError(f"pre-processing for images of shape {self.shape}; every side must be at least 1.")
        if self.layout != LAYOUT:
            raise ExportError(f"pre-processing of layout '{self.layout}'; images here are {LAYOUT}.")
        if self.raw not in RAW_TYPES:
            raise ExportError(f"pre-processing of '{self.raw}' values; raw values are {', '.join(RAW_TYPES)}.")
        if self.resize is not None:
            check_resize(self.resize, self.raw)
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels:
                raise ExportError(f"pre-processing has {len(values)} values of '{name}' for {self.channels} channels.")
        if not all(math.isfinite(value) for value in (self.scale, *self.mean, *self.std)):
            raise ExportError("pre-processing: scale, mean and std must be finite numbers.")
        if self.scale <= 0 or min(self.std) <= 0:
            raise ExportError("pre-processing: scale and every std must be greater than 0.")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.channels, self.height, self.width

    def apply(self, images: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        """Turn raw images into the network's input.

        Args:
            images: [N, C, H, W], uint8 as a camera gives them (or any other raw values, such as int8 features).

        Returns:
            float32, same shape. Each of the three steps is rounded to float32, so every device can repeat it.

        Raises:
            ExportError: the images have another shape.
        """
        if images.ndim != 4 or images.shape[1:] != self.shape:
            raise ExportError(f"images have shape {images.shape}; the network takes [N, {str(self.shape)[1:-1]}].")
        mean = np.asarray(self.mean, dtype=np.float32).reshape(1, -1, 1, 1)
        std = np.asarray(self.std, dtype=np.float32).reshape(1, -1, 1, 1)
        result: npt.NDArray[np.float32] = (images.astype(np.float32) * np.float32(self.scale) - mean) / std
        return result

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a network whose input has this shape (batch first) takes these images.

        The same shape does; so do the same values in the same order without the axis of one channel: a 1-D network
        [1, C, L] takes features of C rows and L columns.
        """
        flat = self.channels == 1 and len(shape) != 4 and math.prod(shape[1:]) == self.height * self.width
        return tuple(shape[1:]) == self.shape or flat

    def input_for(self, images: npt.NDArray[np.generic], shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Turn raw images [N, C, H, W] into a network's input, float32 [N, *shape[1:]]; see `apply` and `fits`.

        Raises:
            ExportError: the images have another shape, or the network takes others.
        """
        if not self.fits(shape):
            raise ExportError(f"the network takes inputs of shape {list(shape[1:])}, not images {list(self.shape)}.")
        return self.apply(images).reshape(len(images), *shape[1:])

    def to_record(self) -> dict[str, object]:
        """Return the JSON form: numbers, strings and lists; `raw` and `resize` only where they are not the usual."""
        record = {**asdict(self), "mean": list(self.mean), "std": list(self.std)}
        return {key: value for key, value in record.items() if key not in _USUAL or value != _USUAL[key]}

    @classmethod
    def from_record(cls, record: object) -> Preprocess:
        """Read the JSON form.

        Raises:
            ExportError: it is no object, a key is unknown or missing, or a value has the wrong type; names the key.
        """
        if not isinstance(record, dict):
            raise ExportError(f"pre-processing is {type(record).__name__}; it must be an object with named values.")
        known = {field.name for field in fields(cls)}
        for key in sorted(map(str, set(record) ^ known)):
            if key in _USUAL and key not in record:
                continue
            raise ExportError(f"pre-processing: key '{key}' is {'missing' if key in known else 'unknown'}.")
        return cls(
            channels=_integer(record, "channels"),
            height=_integer(record, "height"),
            width=_integer(record, "width"),
            scale=_number(record["scale"], "scale"),
            mean=_numbers(record, "mean"),
            std=_numbers(record, "std"),
            layout=_text(record, "layout"),
            raw=_text({**_USUAL, **record}, "raw"),
            resize=_text(record, "resize") if "resize" in record else None,
        )


#: Keys of the JSON form that may be left out, and what they are then.
_USUAL: Mapping[str, object] = {"raw": RAW_TYPES[0], "resize": None}


def check_resize(resize: str, raw: str = RAW_TYPES[0]) -> None:
    """Raise ExportError when `resize` is none of RESIZES, or raw values are no pixels."""
    if resize not in RESIZES or raw != RAW_TYPES[0]:
        raise ExportError(f"pre-processing with resize '{resize}' of {raw}; uint8 images take {', '.join(RESIZES)}.")


def _integer(record: Mapping[str, object], key: str) -> int:
    value = record[key]
    if isinstance(value, bool) or not isinstance(value, int):
        raise ExportError(f"pre-processing: '{key}' is {value!r}; it must be a whole number.")
    return value


def _number(value: object, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ExportError(f"pre-processing: '{key}' holds {value!r}; it must be a number.")
    return float(value)


def _numbers(record: Mapping[str, object], key: str) -> tuple[float, ...]:
    values = record[key]
    if not isinstance(values, list):
        raise ExportError(f"pre-processing: '{key}' is {values!r}; it must be a list of numbers, one per channel.")
    return tuple(_number(value, key) for value in values)


def _text(record: Mapping[str, object], key: str) -> str:
    value = record[key]
    if not isinstance(value, str):
        raise ExportError(f"pre-processing: '{key}' is {value!r}; it must be a string.")
    return value
