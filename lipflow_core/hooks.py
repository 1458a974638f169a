"""What a plugin and the core say to each other: the hook, the descriptor, the API version.

Imports neither torch nor pydantic, so that listing plugins stays fast.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, get_args

import pluggy

PROJECT = "lipflow_core"
ENTRY_POINT_GROUP = "lipflow_core.plugins"
API_VERSION = (1, 0)
"""Version of the plugin API, (major, minor). The minor grows with additions, the major with breaks."""

Kind = Literal["capture", "encoder", "prior", "flow", "coupling", "decoder", "renderer", "objective", "metric"]
KINDS: tuple[Kind, ...] = get_args(Kind)

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True, kw_only=True)
class Component:
    """What the core knows of a component before importing it.

    Args:
        kind: Which contract it fulfils; one of `KINDS`.
        name: The name used in specs; lower case with hyphens.
        implementation: Import path of the class, "package.module:Class".
        config: Import path of its pydantic Config, "package.module:Class". Neither this module nor the one that
            holds the descriptor may import torch.
        summary: One line for listings.
        api: Plugin API that it was written for, (major, minor). It runs on the same major with this minor or a later.
        capabilities: Free-form facts to choose by, such as "cuda" or "volume-preserving".
        aliases: Other names that specs may use.
        deprecated: What to use instead, if it is to go.
        requires: Import names of optional packages that it needs.
        install: Command that installs what it requires, shown when that is missing.
    """

    kind: Kind
    name: str
    implementation: str
    config: str
    summary: str
    api: tuple[int, int] = API_VERSION
    capabilities: frozenset[str] = field(default_factory=frozenset)
    aliases: tuple[str, ...] = ()
    deprecated: str | None = None
    requires: tuple[str, ...] = ()
    install: str | None = None


@hookspec
def lipflow_components() -> Iterable[Component]:
    """Yield a descriptor for every component that this plugin offers.

    As in the plugin `my_prior.py` of docs/plugins.md:

    ```python
    from lipflow_core.hooks import Component, hookimpl

    @hookimpl
    def lipflow_components():
        yield Component(
            kind="prior",
            name="laplace",
            implementation="my_prior_model:LaplacePrior",
            config="my_prior:LaplaceConfig",
            summary="Independent Laplace densities: most of the code near zero",
        )
    ```
    """
