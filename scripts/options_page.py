"""Write docs/options.md, the page of the options that exclude each other, from the table in `fastem.model.exclusions`.

python scripts/options_page.py
"""

from __future__ import annotations

from _common import DOCS

from fastem.model.exclusions import exclusions_page

if __name__ == "__main__":
    (DOCS / "options.md").write_text(exclusions_page(), encoding="utf-8")
