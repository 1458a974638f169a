"""The examples in docs/plugins.md and in the hooks, as a reader would copy them."""

import re
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest
import torch

from lipflow_core import hooks
from lipflow_core.records import FaceState
from lipflow_core.testing import Subject, check_component
from lipflow_core.testing.states import scene

PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"


@pytest.fixture
def copied(sandbox):
    """The files and registries of the page, in a project."""
    text = PAGE.read_text()
    files = re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)```", text, re.DOTALL)
    stems = ("my_prior", "my_prior_model", "my_score", "my_score_model", "my_tools", "my_weigh")
    assert [name for name, _ in files] == [f"{stem}.py" for stem in stems]
    for name, content in files:
        sandbox.write(sandbox.project / name, content)
    sandbox.registry("".join(re.findall(r"```toml\n(\[plugins\.[\w-]+\]\npath = [^\n]*\n)```", text)))
    return sandbox


def test_the_component_passes_the_kit(copied):
    with copied.entered():
        report = check_component("prior", "laplace")
    assert report.passed, str(report)


def test_the_metric_scores_each_sample(copied):
    with copied.entered():
        subject = Subject.of("metric", "landmarks")
        asked = scene(subject, 2, true=True)
        moved = FaceState(asked.state.face.vertices.detach() + torch.tensor([0.0, 3, 4]))
        score = subject.build()(replace(asked.state, face=moved), asked.target)
    torch.testing.assert_close(score, torch.full((2,), 5.0, dtype=torch.float64))


def test_the_command_lists_the_parts_of_a_model(copied):
    assert copied.run("assemble", "dam", "preset=tiny", "--out", "model").returncode == 0
    result = copied.run("weigh", "model")
    assert result.returncode == 0, result.stderr
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[0] == ["part", "parameters"] and int(dict(rows[1:])["decoder"]) > 0


@pytest.mark.parametrize(("name", "plugin"), [("laplace", "my-prior"), ("landmarks", "my-score")])
def test_the_components_are_listed(copied, name, plugin):
    row = copied.component(name)
    assert (row["status"], row["plugin"]) == ("ok", plugin)


def test_the_command_is_listed(copied):
    assert "  weigh     list the parts of a model by their size\n" in copied.run("--help").stdout


@pytest.mark.parametrize("hook", ["lipflow_components", "lipflow_commands"])
def test_the_hooks_show_the_examples_of_the_page(hook):
    page = re.sub(r"\n\n+", "\n\n", PAGE.read_text())
    for example in re.findall(r"```python\n(.*?)```", dedent(f"    {getattr(hooks, hook).__doc__}"), re.DOTALL):
        for part in re.split(r"\n\n+", example.strip()):
            assert part in page
