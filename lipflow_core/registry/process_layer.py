"""Holds the top layer of the registry: components that Python code registered for this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace

from lipflow_core.hooks import Component, Kind, hookimpl
from lipflow_core.registry.layers import Entry, Layer

DISTRIBUTION = "lipflow_core.register"
"""Stands for the distribution of registered components, in listings and in `lock.json`."""

held = SimpleNamespace()
"""Attribute such as "prior_my_prior" → what was registered; the descriptors' import paths lead here."""


@dataclass(frozen=True, eq=False)
class Registered:
    """A registered component, which is a plugin of its own.

    Args:
        component: Descriptor, with import paths that lead to the two classes.
        implementation: The class.
        config: Its Config.
    """

    component: Component
    implementation: type
    config: type

    @hookimpl
    def lipflow_components(self) -> Iterator[Component]:
        """Yield the one component."""
        yield self.component

    @property
    def name_of_class(self) -> str:
        """Module and name of the class, as in "my_module.MyPrior"."""
        return f"{self.implementation.__module__}.{self.implementation.__qualname__}"


def place_of(kind: Kind, name: str) -> str:
    """Name the attribute of `held` for a component."""
    return f"{kind}_{name.replace('-', '_')}"


def path_to(kind: Kind, name: str) -> str:
    """Write the import path of what is held for a component."""
    return f"{__name__}:held.{place_of(kind, name)}"


def everything() -> tuple[Registered, ...]:
    """List what was registered, in order."""
    return tuple(vars(held).values())


def layer_of(registered: tuple[Registered, ...]) -> Layer:
    """Make the layer of registered components, a plugin for each."""
    entries = {}
    for one in registered:
        kind, name = one.component.kind, one.component.name
        version = f"class {one.name_of_class}"
        module = path_to(kind, name)
        entries[f"{kind}/{name}"] = Entry(module=module, enabled=True, distribution=DISTRIBUTION, version=version)
    return Layer("registered in this process", entries)
