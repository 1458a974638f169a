"""The site builds without a warning, and its pages ask no network."""

import os
import re
import subprocess
import sys

import pytest
from docs_blocks import ROOT

pytest.importorskip("sphinx", reason="the site needs the extra 'docs': make docs installs it")
pytest.importorskip("myst_parser", reason="the site needs the extra 'docs': make docs installs it")
pytest.importorskip("furo", reason="the site needs the extra 'docs': make docs installs it")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins")])
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(ROOT / "docs"), str(folder)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_pages_load_nothing_from_elsewhere(site):
    loading = re.compile(r"""<(?:script|img|iframe)[^>]+src=["'](?:https?:)?//|<link[^>]+href=["'](?:https?:)?//""")
    for page in site.rglob("*.html"):
        found = loading.search(page.read_text(encoding="utf-8"))
        assert not found, f"{page.relative_to(site)}: {found[0]}"


def test_the_search_knows_options_of_components(site):
    assert "affine" in (site / "searchindex.js").read_text(encoding="utf-8")
