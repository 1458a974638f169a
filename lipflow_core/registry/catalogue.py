"""The registry: all plugins that the layers name, their components, and how a name in a spec finds its component."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pluggy

from lipflow_core import hooks
from lipflow_core.errors import PluginError
from lipflow_core.hooks import KINDS, Component, Kind
from lipflow_core.registry.admission import Refusal, absolute, offered, refusal_of
from lipflow_core.registry.discovery import describe, load_object, load_plugin, missing_requirements
from lipflow_core.registry.layers import Entry, Layer
from lipflow_core.registry.plugin import Plugin
from lipflow_core.spelling import choices, did_you_mean

if TYPE_CHECKING:
    from lipflow_core.config import Config


@dataclass(eq=False)
class Registry:
    """Plugins and their components, as an ordered stack of layers decides.

    Args:
        layers: Lowest first; later ones override.

    Example:
        >>> registry = default_registry()
        >>> registry.names("coupling")
        ('additive', 'affine', 'affine-clamped', 'spline')
        >>> registry.component("prior", "kl").summary
    """

    layers: Sequence[Layer]
    plugins: Mapping[str, Plugin] = field(init=False)
    refusals: list[Refusal] = field(init=False, default_factory=list)
    notes: list[str] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.aliases: dict[str, dict[str, tuple[str, str]]] = {kind: {} for kind in KINDS}
        self.defaults: dict[str, Any] = {}
        self._by_name: dict[tuple[str, str], list[tuple[Plugin, Component]]] = {}
        self._offers: list[tuple[Plugin, Component]] = []
        self._warned: set[Component] = set()
        self.plugins = self._settle()
        self._load()

    # Public: what there is.

    def names(self, kind: Kind) -> tuple[str, ...]:
        """Names of the components of a kind that specs can use, sorted, without aliases."""
        return tuple(sorted({c.name for c in self.components(kind)}))

    def components(self, kind: Kind | None = None) -> tuple[Component, ...]:
        """Descriptors of all usable components, of one kind or of all, by kind and name; of clashing ones, both."""
        found = [(p, c) for p, c in self._offers if kind is None or c.kind == kind]
        found.sort(key=lambda offer: (KINDS.index(offer[1].kind), offer[1].name, offer[0].name))
        return tuple(component for _, component in found)

    def plugin(self, component: Component) -> Plugin:
        """The plugin that brought a component."""
        # Two plugins may offer equal descriptors, so the very object counts first.
        same = [p for p, c in self._offers if c is component] or [p for p, c in self._offers if c == component]
        if not same:
            raise PluginError(f"{component.kind} '{component.name}' is not in this registry")
        return same[0]

    def distribution(self, component: Component) -> str:
        """Name of the distribution that brought a component; for a plugin given by path, the plugin's name."""
        return self.plugin(component).distribution

    def version(self, component: Component) -> str:
        """Version of that distribution; for a plugin given by path, "sha256:" and a hash of its code."""
        return self.plugin(component).version

    def missing(self, component: Component) -> tuple[str, ...]:
        """Import names of the packages that a component needs and that are not installed."""
        return missing_requirements(component.requires)

    def clashes(self) -> list[tuple[Component, ...]]:
        """Groups of components that share kind and name."""
        return [tuple(c for _, c in group) for group in self._by_name.values() if len(group) > 1]

    def spelling(self, component: Component) -> str:
        """What names a component unambiguously in a spec: its name, or "DISTRIBUTION:NAME" where two share it."""
        if len(self._by_name.get((component.kind, component.name), ())) > 1:
            return f"{self.distribution(component)}:{component.name}"
        return component.name

    # Public: from a name to a component.

    def component(self, kind: Kind, name: str) -> Component:
        """The component that a spec means by a name: an alias, "DISTRIBUTION:NAME", or a component's name.

        Raises:
            PluginError: If there is none, if it is refused, or if several share the name.
        """
        wanted, origin = self.aliases[kind].get(name, (name, None))
        component = self._find(kind, wanted)
        if component is None:
            raise self._unknown(kind, name, wanted, origin)
        if component.deprecated is not None and component not in self._warned:
            self._warned.add(component)
            warnings.warn(
                f"{kind} '{component.name}' ({self.distribution(component)}) is deprecated: {component.deprecated}",
                FutureWarning,
                stacklevel=2,
            )
        return component

    def default(self, key: str) -> Any:
        """Give what options of a key take where a spec says nothing: a component, or a list of components, as data.

        Raises:
            PluginError: If no layer names a default of that key.
        """
        if key not in self.defaults:
            raise PluginError(
                f"no registry.toml names a default for '{key}'", f'add it below [defaults], such as {key} = "NAME"'
            )
        return self.defaults[key]

    def load_config(self, component: Component) -> type[Config]:
        """The component's Config class.

        Raises:
            PluginError: If it can't be imported or is no Config.
        """
        from lipflow_core.config import Config

        config = load_object(component.config, component, check_requirements=False)
        if not (isinstance(config, type) and issubclass(config, Config)):
            raise PluginError(
                f"{component.kind} '{component.name}': {component.config} is no subclass of lipflow_core.config.Config",
                f"tell the author of {self.distribution(component)}",
            )
        return config

    def _find(self, kind: Kind, name: str) -> Component | None:
        distribution, _, bare = name.rpartition(":")
        group = self._by_name.get((kind, bare), [])
        if not group:
            group = [(p, c) for p, c in self._offers if c.kind == kind and bare in c.aliases]
        if distribution:
            group = [(p, c) for p, c in group if distribution in (p.name, p.distribution)]
        if len(group) > 1:
            owners = [f"'{plugin.distribution}' (plugin {plugin.name})" for plugin, _ in group]
            target = f"{group[0][0].distribution}:{group[0][1].name}"
            raise PluginError(
                f"{kind} '{name}' is offered by {' and '.join(owners)}",
                f'choose one in a registry.toml, [aliases.{kind}] {bare} = "{target}", or switch one off with '
                f"--disable {group[-1][0].name}",
            )
        return group[0][1] if group else None

    def _unknown(self, kind: Kind, name: str, wanted: str, origin: str | None) -> PluginError:
        bare = wanted.rpartition(":")[2]
        for refusal in self.refusals:
            if refusal.component.kind == kind and bare in (refusal.component.name, *refusal.component.aliases):
                return PluginError(refusal.reason, refusal.hint)
        message = f"there is no {kind} '{name}'"
        if origin is not None:
            message = f"{kind} '{name}' is an alias of '{wanted}' by {origin}, but there is no {kind} of that name"
        aliases = (*self.aliases[kind], *(alias for c in self.components(kind) for alias in c.aliases))
        hint = choices(wanted, self.names(kind))
        if meant := did_you_mean(name, aliases):
            hint = f"{meant} {hint}"
        broken = [f"{p.name} ({p.cause})" for p in self.plugins.values() if p.status == "broken"]
        off = [p.name for p in self.plugins.values() if p.status == "disabled"]
        if broken:
            hint += f"\n  It may be in a plugin that fails to load: {'; '.join(broken)}"
        if off:
            hint += f"\n  Switched off: {', '.join(off)}"
        return PluginError(message, hint)

    # From layers to plugins.

    def _settle(self) -> dict[str, Plugin]:
        plugins: dict[str, Plugin] = {}
        for layer in self.layers:
            for key, entry in layer.plugins.items():
                targets = self._targets(key, entry, plugins)
                if not targets:
                    if entry.module is None and entry.path is None:
                        self._nobody(key, layer, plugins)
                        continue
                    plugins[key] = Plugin(key, entry, layer.origin)
                for target in targets:
                    _override(plugins[target], entry, layer.origin)
            for kind, table in layer.aliases.items():
                self.aliases[kind].update({alias: (target, layer.origin) for alias, target in table.items()})
            self.defaults.update(layer.defaults)
        return plugins

    @staticmethod
    def _targets(key: str, entry: Entry, plugins: Mapping[str, Plugin]) -> list[str]:
        """Names of the plugins that an entry speaks of: by name, by what it loads, or, to switch them off, by
        distribution."""
        if key in plugins:
            return [key]
        if entry.module is not None or entry.path is not None:
            what = (entry.module, entry.path)
            return [name for name, p in plugins.items() if (p.entry.module, p.entry.path) == what]
        return [name for name, p in plugins.items() if p.entry.distribution == key]

    def _nobody(self, key: str, layer: Layer, plugins: Mapping[str, Plugin]) -> None:
        message = f"{layer.origin}: there is no plugin '{key}'"
        if layer.strict:
            raise PluginError(message, choices(key, plugins) + "; a new one needs 'module' or 'path'")
        self.notes.append(message)

    # From plugins to components.

    def _load(self) -> None:
        manager = pluggy.PluginManager(hooks.PROJECT)
        manager.add_hookspecs(hooks)
        for plugin in self.plugins.values():
            if plugin.entry.enabled is False:
                plugin.status = "disabled"
                continue
            try:
                loaded, package = load_plugin(plugin.entry)
                manager.register(loaded, name=plugin.name)
                if not any(impl.plugin_name == plugin.name for impl in manager.hook.lipflow_components.get_hookimpls()):
                    raise PluginError(f"{plugin.source} has no @hookimpl lipflow_components()")
                manager.check_pending()
                plugin.components = tuple(absolute(c, package) for c in offered(manager, plugin.name))
            except Exception as error:
                plugin.status, plugin.cause, plugin.error = "broken", describe(error), error
                if manager.has_plugin(plugin.name):
                    manager.unregister(name=plugin.name)
                continue
            for component in plugin.components:
                self._add(plugin, component)

    def _add(self, plugin: Plugin, component: Component) -> None:
        if refusal := refusal_of(plugin, component):
            self.refusals.append(refusal)
        else:
            self._offers.append((plugin, component))
            self._by_name.setdefault((component.kind, component.name), []).append((plugin, component))


def _override(plugin: Plugin, entry: Entry, origin: str) -> None:
    settled = plugin.entry
    if entry.module is not None or entry.path is not None:
        settled = replace(settled, module=entry.module, path=entry.path)
        if (plugin.entry.module, plugin.entry.path) != (entry.module, entry.path):
            settled = replace(settled, distribution=entry.distribution)
    if entry.enabled is not None:
        settled = replace(settled, enabled=entry.enabled)
    if settled != plugin.entry:
        plugin.entry, plugin.origin = settled, origin
