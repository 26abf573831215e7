"""Sphinx: the pages of this folder, and a reference of every public name.

pip install ".[docs]" && sphinx-build -W --keep-going -q docs build/docs
"""

import re
from typing import Any

import fastem

project = html_title = "fastem"
author = copyright = "The fastem developers"
release = fastem.__version__
extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary"]
templates_path = ["_templates"]
exclude_patterns = ["_templates"]
html_theme = "furo"

default_role = "py:obj"  # `name` in a docstring is a link where the name is public
myst_heading_anchors = 3  # links to headings, as code hosts have them
autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the sections of docstrings tell the types, with shapes
numpydoc_show_class_members = False  # the template lists them


def is_field(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the fields of named tuples: the docstring of the class tells what they are."""
    return True if type(obj).__name__ == "_tuplegetter" else None


QUOTED_OR_NAME = re.compile(r"``.*?``|`[^`]*`|(?<![\w.])(\w+)_(?=[\s,.;:)]|$)")


def keep_names(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Escape the underscore at the end of an attribute's name, which would make a link of it, outside of code."""
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            lines[i] = QUOTED_OR_NAME.sub(lambda found: f"{found[1]}\\_" if found[1] else found[0], line)


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-skip-member", is_field)
    app.connect("autodoc-process-docstring", keep_names, priority=900)  # after numpydoc
