"""Versioned ``.npz`` archives without pickle, for model files and checkpoints."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipInfo

import numpy as np
import numpy.typing as npt

from fastem.files.atomic import replacing
from fastem.model.result import Status

Array = npt.NDArray[Any]

ENDINGS = (".npz",)
STAMP_BYTES = 1000  # the largest array that can hold the name of a format


class ModelFileError(ValueError):
    """A file is not a readable fastem model or checkpoint; the message says what was found and what was expected."""


class ArchiveFormat(NamedTuple):
    """A kind of archive. Beside its arrays an archive holds their ``format`` and ``version``.

    Attributes
    ----------
    what : str, its name in messages
    format : str
    version : int
    names : tuple of str, the arrays that it holds
    optional : str, a regular expression for names of others that it may hold
    """

    what: str
    format: str
    version: int
    names: tuple[str, ...]
    optional: str = ""


def write(path: Path, layout: ArchiveFormat, arrays: dict[str, Any]) -> None:
    """Write an archive, whole or not at all."""
    with replacing(path) as stream:
        np.savez(stream, format=layout.format, version=layout.version, **arrays)


def read(path: Path, layout: ArchiveFormat) -> dict[str, Array]:
    """Read the arrays that this version knows, after checking that the file is of this kind and version."""
    with path.open("rb") as stream:  # a missing file stays an OSError
        try:
            with np.load(stream, allow_pickle=False) as archive:
                _check_sizes(path, layout, archive.zip.infolist())
                names = set(archive.files)
                arrays = {name: _array(path, archive, name) for name in ("format", "version") if name in names}
                _check_stamp(path, layout, arrays, names)
                wanted = {name for name in names if name in layout.names or re.fullmatch(layout.optional, name)}
                arrays |= {name: _array(path, archive, name) for name in wanted}
        except ModelFileError:
            raise
        except Exception as error:  # crafted bytes make numpy, zipfile and zlib raise a dozen different types
            raise ModelFileError(
                f"{path}: not a {layout.what} file, or a damaged one ({type(error).__name__}); expected a .npz "
                "archive of plain arrays"
            ) from error
    if missing := [name for name in layout.names if name not in arrays]:
        raise ModelFileError(f"{path}: damaged {layout.what} file: expected an array '{missing[0]}', found none")
    return arrays


def stamp(path: Path) -> str:
    """Return the format that an archive names; "" for a file that is no archive, which `read` refuses."""
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo("format.npy")
            if member.file_size > STAMP_BYTES:
                return ""
            with archive.open(member) as stream:
                return str(np.lib.format.read_array(stream, allow_pickle=False))
    except Exception:  # crafted bytes make numpy and zipfile raise a dozen different types
        return ""


def _check_sizes(path: Path, layout: ArchiveFormat, members: list[ZipInfo]) -> None:
    """Refuse members that are larger than the file: `write` does not compress, so they were made to fill the memory."""
    unpacked, size = sum(member.file_size for member in members), path.stat().st_size
    if unpacked > size:
        raise ModelFileError(
            f"{path}: not a fastem {layout.what}: expected members of {size} bytes at most, as many as the file has; "
            f"they unpack to {unpacked}"
        )


def _array(path: Path, archive: Any, name: str) -> Array:
    """Read a member; refuse one that does not begin as a .npy file does, whose bytes NumPy would return."""
    value = archive[name]
    if not isinstance(value, np.ndarray):
        raise ModelFileError(f"{path}: expected an array '{name}' in .npy format, found other bytes")
    return value


def _check_stamp(path: Path, layout: ArchiveFormat, arrays: dict[str, Array], names: set[str]) -> None:
    if "format" not in arrays or "version" not in arrays:
        found = ", ".join(sorted(names)[:5]) or "none"
        raise ModelFileError(f"{path}: not a fastem {layout.what}: expected arrays format, version, ..., found {found}")
    form, version = text(path, arrays, "format"), scalar(path, arrays, "version", "iu")
    if form != layout.format:
        raise ModelFileError(
            f"{path}: not a fastem {layout.what}: expected format '{layout.format}', found '{form:.40}'"
        )
    if version != layout.version:
        raise ModelFileError(
            f"{path}: {layout.what} file of version {version}, expected {layout.version}; update fastem to read newer "
            "ones"
        )


def text(path: Path, arrays: dict[str, Array], name: str) -> str:
    """Return the text in a 0-dimensional array."""
    return str(scalar(path, arrays, name, "U"))


def scalar(path: Path, arrays: dict[str, Array], name: str, kinds: str) -> Any:
    """Return the value in a 0-dimensional array, whose dtype must be of one of the kinds, as a Python object."""
    value = arrays[name]
    if value.shape != () or value.dtype.kind not in kinds:
        found = f"{value.dtype} of shape {value.shape}"
        raise ModelFileError(f"{path}: expected one value of kind '{kinds}' in array '{name}', found {found}")
    return value.item()


def floats(path: Path, arrays: dict[str, Array], name: str) -> Array:
    """Return a float32 or float64 array in the machine's own byte order."""
    value = arrays[name]
    if value.dtype.kind != "f" or value.dtype.itemsize not in (4, 8):
        raise ModelFileError(f"{path}: expected float32 or float64 in array '{name}', found {value.dtype}")
    return value.astype(value.dtype.newbyteorder("="), copy=False)


def status(path: Path, arrays: dict[str, Array], name: str) -> Status | None:
    """Return the Status with the name that an array holds; None if the name is empty."""
    found = text(path, arrays, name)
    if found and found not in Status.__members__:
        raise ModelFileError(f"{path}: expected a status among {', '.join(Status.__members__)}, found '{found:.40}'")
    return Status[found] if found else None
