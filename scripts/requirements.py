"""Print the requirements of an extra of pyproject.toml, and of the extras that it consists of, one a line.

    python scripts/requirements.py dev
    python scripts/requirements.py test --lowest

Installed by themselves, they leave the fastem that is there, and its compiled kernels, alone. With --lowest they are
the oldest versions that are allowed, those of fastem's own requirements too, as constraints for ``pip install -c``: a
lower bound that no package index has is an error of pip then, so that the bounds say what has been run.
"""

import argparse
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("extra", choices=PROJECT["optional-dependencies"])
    parser.add_argument("--lowest", action="store_true")
    options = parser.parse_args()
    found = set(required(options.extra))
    if options.lowest:
        found = {lowest(one) for one in [*PROJECT["dependencies"], *found]}
    print("\n".join(sorted(found)))
