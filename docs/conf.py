"""How the site is built: `tox -e docs`. Nothing is fetched, and a warning is an error."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

from looop_portable import __version__

sys.path.insert(0, str(Path(__file__).parent))

project = "looop-portable"
author = "The looop-portable maintainers"
copyright = "2026, the looop-portable maintainers; MIT licence"  # noqa: A001
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_click", "sphinx_copybutton", "generated"]
exclude_patterns = ["_build"]
nitpicky = True
nitpick_ignore_regex = [
    # Python's own: its inventory is on the network, and nothing is fetched.
    ("py:class", r"(collections\.abc|os|threading)\..*"),
    # What a signature names and the library does not show: what `Claims` and `Backend` are made of, and options with names.
    ("py:class", r"looop_portable\.(backends\.(base|lines)|claims\.events|holding\.options|system\.processes)\.\w+"),
]
default_role = "code"
smartquotes = False  # `--wait` is to be copied.

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"

copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

highlight_language = "none"

html_theme = "furo"
html_title = "looop-portable"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "project/architecture.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    **{f"backends/{each}/README.md": f"project/{each}.md" for each in ("redis", "postgres", "etcd", "objects")},
}
"""The page of the site that shows a document from elsewhere in the repository."""


def relink(text: str, document: Path) -> str:
    """The links of a document work on the repository's own pages; those that leave `docs` are turned to the site's."""

    def turned(link: re.Match[str]) -> str:
        path, hash_, heading = link["to"].partition("#")
        target = (document.parent / path).resolve()
        if not path or re.match(r"\w+:", path) or not target.is_relative_to(ROOT):
            return link[0]
        name = target.relative_to(ROOT).as_posix()
        page = PAGES.get(name, name.removeprefix("docs/") if name.startswith("docs/") else "")
        # A file that is on no page is told by its name.
        return f"[{link['text']}](/{page}{hash_}{heading})" if page else link["text"]

    return re.sub(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<to>[^)\s]+)\)", turned, text)


def setup(app: Sphinx) -> None:
    def read(_: Sphinx, name: str, content: list[str]) -> None:
        content[0] = relink(content[0], Path(str(app.env.doc2path(name))))

    def included(_: Sphinx, path: Path, __: str, content: list[str]) -> None:
        content[0] = relink(content[0], ROOT / "docs" / path)

    app.connect("source-read", read)
    app.connect("include-read", included)
