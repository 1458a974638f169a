"""Defines the interface between plugins and the core: two hooks, their descriptors, and the API version.

A plugin implements at least one of the two hooks. Imports neither torch nor pydantic, so that listing plugins stays
fast.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

import pluggy

PROJECT = "lipflow_core"
ENTRY_POINT_GROUP = "lipflow_core.plugins"
API_VERSION = (1, 0)
"""Version of the plugin API, (major, minor). The minor grows with additions, the major with breaks."""

Kind = Literal[
    "capture",
    "encoder",
    "prior",
    "flow",
    "coupling",
    "decoder",
    "renderer",
    "objective",
    "optimizer",
    "temporal",
    "metric",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True, kw_only=True)
class Component:
    """Describes a component, so that the core can list it without importing it.

    Args:
        kind: Contract that the component fulfils; one of `KINDS`.
        name: Name in specs; lower case with hyphens.
        implementation: Import path of the class, "package.module:Class".
        config: Import path of its pydantic Config, "package.module:Class". Neither this module nor the one that
            holds the descriptor may import torch.
        summary: One line for listings.
        api: Plugin API that it was written for, (major, minor). It runs on the same major with this or a later minor.
        capabilities: Facts that help users to choose, such as "cuda" or "volume-preserving".
        aliases: Other names that specs may use.
        deprecated: Replacement to use, if this component is deprecated.
        requires: Import names of optional packages that the component needs.
        install: Command that installs these packages; it is shown if one is missing.
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


@dataclass(frozen=True, kw_only=True)
class Command:
    """Describes a command of `lipflow-core`, so that `--help` lists it without importing it.

    Args:
        name: Word after `lipflow-core` that calls the command; lower case with hyphens.
        summary: One line for `--help`, such as "write a report of an evaluation".
        module: Import path of its module, "package.module". The module is imported when the command is called. It has
            two functions: `add_arguments(parser)`, which adds the command's arguments to an
            `argparse.ArgumentParser`, and `run(args)`, which does the work and returns the exit code. `run` raises an
            error of `lipflow_core.errors` where the user must act; any other error is taken for a fault of the plugin.
        api: Plugin API that it was written for, (major, minor). It runs on the same major with this or a later minor.
        requires: Import names of optional packages that the command needs.
        install: Command that installs these packages; it is shown if one is missing.
    """

    kind: ClassVar[Literal["command"]] = "command"

    name: str
    summary: str
    module: str
    api: tuple[int, int] = API_VERSION
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


@hookspec
def lipflow_commands() -> Iterable[Command]:
    """Yield a descriptor for every command that this plugin offers.

    As in the plugin `my_tools.py` of docs/plugins.md:

    ```python
    from lipflow_core.hooks import Command, hookimpl

    @hookimpl
    def lipflow_commands():
        yield Command(name="weigh", summary="list the parts of a model by their size", module="my_weigh")
    ```

    where `my_weigh.py`, imported when `lipflow-core weigh MODEL` is called, is:

    ```python
    from lipflow_core.tables import table

    def add_arguments(parser):
        parser.add_argument("model", metavar="MODEL", help="model directory, as training leaves it")

    def run(args):
        from lipflow_core import open_model

        avatar = open_model(args.model).avatar
        sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in avatar.named_children()}
        print(table(("part", "parameters"), [(name, str(size)) for name, size in sizes.items()], left=1))
        return 0
    ```
    """
