"""Sphinx: builds the site from the pages beside this file and from what the code says of itself; see `make docs`."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
os.environ["COLUMNS"] = "90"  # width of the commands' help
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "plugins")]

from reference import links_of_site, write_reference  # noqa: E402

from lipflow_core.version import __version__  # noqa: E402

project = "lipflow-core"
author = "the authors of lipflow-core"
release = __version__
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"lipflow-core {release}"
html_copy_source = False
html_show_copyright = False
html_static_path = ["static"]
html_css_files = ["site.css"]

myst_heading_anchors = 4  # links of pages to headings of others, as on GitHub

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_member_order = "bysource"
autodoc_default_options = {"show-inheritance": True, "exclude-members": "model_config, model_post_init"}
autodoc_class_signature = "separated"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
nitpicky = False

write_reference(HERE / "generated")


def setup(app):
    """Point links of pages at what lies outside docs/."""

    def point(app, name, source):
        if not name.startswith("generated/"):
            source[0] = links_of_site(source[0], "../" * name.count("/"))

    def translate(app, what, name, value, options, lines):
        lines[:] = _restructured("\n".join(lines)).split("\n")

    app.connect("source-read", point)
    app.connect("autodoc-process-docstring", translate, priority=400)  # before napoleon


def _restructured(text: str) -> str:
    """Translate the Markdown of a docstring, fenced code and `names`, to reStructuredText."""

    def block(found: re.Match[str]) -> str:
        indent, language, code = found.groups()
        return f"{indent}.. code-block:: {language or 'text'}\n\n" + re.sub(r"^(?=.)", "   ", code, flags=re.MULTILINE)

    text = re.sub(r"^( *)```(\w*)\n(.*?)^ *```$", block, text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^(\S.*[^:]):\n\n(?= {4}\S)", r"\1::\n\n", text, flags=re.MULTILINE)  # an indented example
    lines, code = [], None  # code: indentation of the line that code follows
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip())
        if code is not None and line and indent <= code:
            code = None
        if code is None:
            if line.endswith("::") or ".. code-block::" in line:
                code = indent
            line = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line)
        lines.append(line)
    return "\n".join(lines)
