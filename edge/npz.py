"""Arrays from an `.npz` file, without ever unpickling."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge.errors import EdgeError


def read_npz(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Read every array of an `.npz`, refusing pickled objects.

    Raises:
        EdgeError: no such file, damaged, or it holds objects; names the file.
    """
    try:
        # From memory: numpy leaves the file open when it turns out to be damaged.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise EdgeError(f"no file {path}.") from error
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise EdgeError(f"{path} is not a readable .npz file of plain arrays: {error}") from error
