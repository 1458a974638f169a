"""The example in docs/plugins.md, as a reader would copy it."""

import re
from pathlib import Path

import pytest

from lipflow_core.testing import check_component

PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"


@pytest.fixture
def copied(sandbox):
    """The two files and the registry of the page, in a project."""
    text = PAGE.read_text()
    files = re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)```", text, re.DOTALL)
    assert [name for name, _ in files] == ["my_prior.py", "my_prior_model.py"]
    for name, content in files:
        sandbox.write(sandbox.project / name, content)
    sandbox.registry(re.search(r"```toml\n(\[plugins\.my-prior\]\npath = .*?)```", text, re.DOTALL)[1])
    return sandbox


def test_the_example_passes_the_kit(copied):
    with copied.entered():
        report = check_component("prior", "laplace")
    assert report.passed, str(report)


def test_the_example_is_listed(copied):
    row = copied.component("laplace")
    assert (row["status"], row["plugin"]) == ("ok", "my-prior")
