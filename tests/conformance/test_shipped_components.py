"""Every shipped component fulfils its contract."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from lipflow_multiface.writing import write_capture

from lipflow_core.registry import default_registry
from lipflow_core.testing import Subject, checks

REGISTRY = default_registry()
SUBJECTS = {
    f"{part.kind}-{part.name}": (part.kind, part.name)
    for part in REGISTRY.components()
    if not REGISTRY.missing(part) and (part.kind != "renderer" or "cpu" in part.capabilities)
}
"""The components that can run here, by "KIND-NAME"."""


def multiface_options(folder: Path) -> dict[str, object]:
    """A capture on disk: the dome's, a few small frames of it."""
    dome = Subject.of("capture", "dome", {"sequences": 2, "held_out_sequences": 1})
    write_capture(dome.build(), folder, style="none")
    return {"path": folder, "cache": folder.parent / "packed"}


DIFFERENCES = {"renderer-drtk": {"silhouettes move with the vertices": "9.2, not 10: it moves pixels, not the edge"}}
"""Where an adapter's package has its own definition: key → check → how. docs/renderers.md tells them."""

OPTIONS = {"capture-multiface": multiface_options}
"""Makers of options for components that can't be built without; each gets a folder to use."""


@pytest.fixture(scope="session")
def subject(tmp_path_factory):
    """Give the subject for a component by its key in `SUBJECTS`."""

    @cache
    def of(name: str) -> Subject:
        options = OPTIONS[name](tmp_path_factory.mktemp("subject") / "capture") if name in OPTIONS else None
        return Subject.of(*SUBJECTS[name], options)

    return of


@pytest.mark.parametrize(
    ("name", "check"),
    [
        pytest.param(name, check, id=f"{name}: {check}")
        for name, (kind, _) in SUBJECTS.items()
        for check in checks(kind)
    ],
)
def test_conformance(subject, name, check):
    if difference := DIFFERENCES.get(name, {}).get(str(check)):
        pytest.skip(difference)
    check(subject(name))
