"""Writing the figures that commands draw."""

from pathlib import Path
from typing import Any

from fastem.files.atomic import replacing

PLOT_ENDINGS = (".png", ".pdf", ".svg")


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure to a file; after an error, the file is as it was before."""
    with replacing(path) as stream:
        figure.savefig(stream, format=path.suffix[1:].lower())
