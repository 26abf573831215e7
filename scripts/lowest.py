"""Print the oldest versions that pyproject.toml allows, as constraints for pip: ``pip install -c FILE ".[test]"``.

A lower bound that no package index has is an error of pip then, so that the bounds say what has been run.
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]


def required(extra: str) -> Iterator[str]:
    """Requirements of an extra, and of the extras that it consists of."""
    for requirement in PROJECT["optional-dependencies"][extra]:
        parts = re.fullmatch(r"fastem\[(.*)\]", requirement)
        if parts is None:
            yield requirement
        for part in parts[1].split(",") if parts else ():
            yield from required(part)


def lowest(requirement: str) -> str:
    """For ``dask[array]>=2025.4; marker``: ``dask==2025.4``."""
    name, bound = re.fullmatch(r"([\w-]+)(?:\[.*\])?>=([\w.]+)(?:\s*;.*)?", requirement).groups()
    return f"{name}=={bound}"


if __name__ == "__main__":
    print("\n".join(sorted({lowest(one) for one in [*PROJECT["dependencies"], *required("test")]})))
