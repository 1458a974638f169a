"""Registers a class as a component of this process, so that specs name it without a plugin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from lipflow_core.errors import PluginError
from lipflow_core.hooks import KINDS, Component, Kind
from lipflow_core.interfaces.contracts import CONTRACTS
from lipflow_core.registry import default_registry
from lipflow_core.registry.admission import check_descriptor
from lipflow_core.registry.process_layer import DISTRIBUTION, Registered, held, path_to, place_of
from lipflow_core.spelling import choices

C = TypeVar("C", bound=type)


@overload
def register(kind: Kind, name: str, implementation: C, *, config: type | None = None, summary: str = "") -> C: ...


@overload
def register(kind: Kind, name: str, *, config: type | None = None, summary: str = "") -> Callable[[C], C]: ...


def register(
    kind: Kind, name: str, implementation: Any = None, *, config: type | None = None, summary: str = ""
) -> Any:
    """Register a class as a component of this process, for notebooks and scripts; specs then use its name.

    A model whose spec names it is opened again after the same call. Registering a class of the same module and name
    again replaces it, as when a notebook's cell is run twice; specs that were loaded before must be loaded again.

    Args:
        kind: Kind of the component, such as "prior"; one of `lipflow_core.hooks.KINDS`.
        name: Name for specs; lower case with hyphens.
        implementation: Class that fulfils the kind's contract of `lipflow_core.interfaces`. Left out, `register` is a
            decorator.
        config: Class of its options; the class's attribute `Config` if None.
        summary: Line for listings; the first line of the class's docstring if empty.

    Returns:
        The class, unchanged; or the decorator.

    Raises:
        TypeError: If the class or its Config is not of the kind's contract.
        lipflow_core.errors.PluginError: If there is no such kind, the name can't be used, or another component has it.

    Example:
        ```python
        @lipflow_core.register("prior", "wide", config=WideConfig)
        class WidePrior(LatentPrior): ...

        spec = lipflow_core.load_spec("dam", ["preset=tiny", "prior=wide"])
        ```
    """
    if kind not in KINDS:
        raise PluginError(f"there is no kind of component '{kind}'", choices(kind, KINDS))
    if implementation is None:
        return lambda decorated: register(kind, name, decorated, config=config, summary=summary)
    config = getattr(implementation, "Config", None) if config is None else config
    for what, found, base in zip(("class", "Config"), (implementation, config), CONTRACTS[kind], strict=True):
        if not (isinstance(found, type) and issubclass(found, base)):
            told = getattr(found, "__name__", repr(found))
            cure = ""
            if found is None:
                cure = "; give it as config=, or as the class's attribute Config"
            raise TypeError(f"the {what} of {kind} '{name}' must derive from {base.__name__}, got {told}{cure}")
    lines = (summary or implementation.__doc__ or "").strip().splitlines()
    path = path_to(kind, str(name))  # checked below
    component = Component(
        kind=kind,
        name=name,
        implementation=f"{path}.implementation",
        config=f"{path}.config",
        summary=lines[0] if lines else implementation.__name__,
    )
    check_descriptor(component)
    made = Registered(component, implementation, config)
    _check_free(made)
    setattr(held, place_of(kind, name), made)
    return implementation


def _check_free(made: Registered) -> None:
    """Raise a PluginError that names the other component if another one has the name."""
    kind, name = made.component.kind, made.component.name
    before = getattr(held, place_of(kind, name), None)
    owner = None
    if before is not None and before.name_of_class != made.name_of_class:
        owner = f"class {before.name_of_class}, registered before"
    registry = default_registry()
    for other in registry.components(kind):
        if name in (other.name, *other.aliases) and registry.distribution(other) != DISTRIBUTION:
            owner = f"{registry.distribution(other)} (plugin {registry.plugin(other).name})"
    if name in registry.aliases[kind]:
        target, origin = registry.aliases[kind][name]
        owner = f"an alias of '{target}' in {origin}"
    if owner is not None:
        raise PluginError(
            f"{kind} '{name}' can't be class {made.name_of_class}: the name is taken by {owner}", "Choose another name."
        )
