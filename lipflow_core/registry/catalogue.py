"""The registry: all plugins that the layers name, what they offer, and how a name in a spec finds its component."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pluggy

from lipflow_core import hooks
from lipflow_core.errors import PluginError
from lipflow_core.hooks import KINDS, Command, Component, Kind
from lipflow_core.registry.admission import Refusal, absolute, offered, refusal_of
from lipflow_core.registry.discovery import describe, load_object, load_plugin, missing_requirements
from lipflow_core.registry.layers import Entry, Layer
from lipflow_core.registry.plugin import Offer, Plugin
from lipflow_core.spelling import canonical, choices, did_you_mean

if TYPE_CHECKING:
    from lipflow_core.config import Config


@dataclass(eq=False)
class Registry:
    """Plugins with their components and commands, as an ordered stack of layers decides.

    Args:
        layers: Lowest first; later ones override.

    Example:
        >>> from lipflow_core.registry import default_registry
        >>> registry = default_registry()
        >>> registry.component("renderer", registry.default("renderer")).kind
        'renderer'
    """

    layers: Sequence[Layer]
    plugins: Mapping[str, Plugin] = field(init=False)
    refusals: list[Refusal] = field(init=False, default_factory=list)
    notes: list[str] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.aliases: dict[str, dict[str, tuple[str, str]]] = {kind: {} for kind in KINDS}
        self.defaults: dict[str, Any] = {}
        self._by_name: dict[tuple[str, str], list[tuple[Plugin, Offer]]] = {}
        self._offers: list[tuple[Plugin, Offer]] = []
        self._warned: set[Component] = set()
        self.plugins = self._settle()
        self._load()

    # Public: what there is.

    def names(self, kind: Kind) -> tuple[str, ...]:
        """List the names of the components of a kind that specs can use, sorted, without aliases."""
        return tuple(sorted({c.name for c in self.components(kind)}))

    def components(self, kind: Kind | None = None) -> tuple[Component, ...]:
        """List the usable components, of one kind or of all, by kind and name; of clashing ones, all."""
        found = [(p, c) for p, c in self._offers if isinstance(c, Component) and kind in (None, c.kind)]
        found.sort(key=lambda offer: (KINDS.index(offer[1].kind), offer[1].name, offer[0].name))
        return tuple(component for _, component in found)

    def commands(self) -> tuple[Command, ...]:
        """List the usable commands of plugins by name; of clashing ones, all."""
        found = [(p, c) for p, c in self._offers if isinstance(c, Command)]
        found.sort(key=lambda offer: (offer[1].name, offer[0].name))
        return tuple(command for _, command in found)

    def plugin(self, offer: Offer) -> Plugin:
        """Find the plugin that brought a component or command."""
        # Two plugins may offer equal descriptors, so the very object counts first.
        same = [p for p, o in self._offers if o is offer] or [p for p, o in self._offers if o == offer]
        if not same:
            raise PluginError(f"{offer.kind} '{offer.name}' is not in this registry")
        return same[0]

    def distribution(self, offer: Offer) -> str:
        """Name the distribution that brought a component or command; of a plugin given by path, the plugin."""
        return self.plugin(offer).distribution

    def version(self, offer: Offer) -> str:
        """Give the version of that distribution; for a plugin given by path, "sha256:" and a hash of its code."""
        return self.plugin(offer).version

    def missing(self, offer: Offer) -> tuple[str, ...]:
        """List the import names of packages that a component or command needs and that are not installed."""
        return missing_requirements(offer.requires)

    def clashes(self) -> list[tuple[Component, ...]]:
        """List the groups of components that share kind and name."""
        groups = [tuple(offer for _, offer in group) for group in self._by_name.values() if len(group) > 1]
        return [group for group in groups if isinstance(group[0], Component)]

    def spelling(self, component: Component) -> str:
        """Spell a component unambiguously for a spec: its name, or "DISTRIBUTION:NAME" where two share it."""
        if len(self._by_name.get((component.kind, component.name), ())) > 1:
            return f"{self.distribution(component)}:{component.name}"
        return component.name

    # Public: from a name to a component.

    def component(self, kind: Kind, name: str) -> Component:
        """Find the component that a spec means by a name: an alias, "DISTRIBUTION:NAME", or a component's name.

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
        """Import a component's Config class.

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
            group = [(p, c) for p, c in group if distribution == p.name or _same(distribution, p.distribution)]
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
            if refusal.offer.kind == kind and bare in (refusal.offer.name, *refusal.offer.aliases):
                return PluginError(refusal.reason, refusal.hint)
        message = f"there is no {kind} '{name}'"
        if origin is not None:
            message = f"{kind} '{name}' is an alias of '{wanted}' by {origin}, but there is no {kind} of that name"
        aliases = (*self.aliases[kind], *(alias for c in self.components(kind) for alias in c.aliases))
        hint = choices(wanted, self.names(kind))
        if meant := did_you_mean(name, aliases):
            hint = f"{meant} {hint}"
        return PluginError(message, "\n  ".join([hint, *self.absent()]))

    def absent(self) -> list[str]:
        """Tell which plugins a name was not looked for in: a line for broken ones, a line for disabled ones."""
        broken = [f"{p.name} ({p.cause})" for p in self.plugins.values() if p.status == "broken"]
        off = [p.name for p in self.plugins.values() if p.status == "disabled"]
        lines = [f"It may be in a plugin that fails to load: {'; '.join(broken)}"] if broken else []
        return [*lines, f"Switched off: {', '.join(off)}"] if off else lines

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
        """Name the plugins that an entry speaks of: by name, by what it loads, or, to switch them off, by
        distribution."""
        if key in plugins:
            return [key]
        if entry.module is not None or entry.path is not None:
            what = (entry.module, entry.path)
            return [name for name, p in plugins.items() if (p.entry.module, p.entry.path) == what]
        return [name for name, p in plugins.items() if _same(key, name) or _same(key, p.entry.distribution)]

    def _nobody(self, key: str, layer: Layer, plugins: Mapping[str, Plugin]) -> None:
        message = f"{layer.origin}: there is no plugin '{key}'"
        if layer.strict:
            raise PluginError(message, choices(key, plugins) + "; a new one needs 'module' or 'path'")
        self.notes.append(message)

    # From plugins to what they offer.

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
                manager.check_pending()
                plugin.offers = tuple(absolute(offer, package) for offer in offered(manager, plugin.name))
            except (Exception, SystemExit) as error:
                plugin.status, plugin.cause = "broken", describe(error)
                if manager.has_plugin(plugin.name):
                    manager.unregister(name=plugin.name)
                continue
            for offer in plugin.offers:
                if refusal := refusal_of(plugin, offer):
                    self.refusals.append(refusal)
                else:
                    self._offers.append((plugin, offer))
                    self._by_name.setdefault((offer.kind, offer.name), []).append((plugin, offer))


def _same(distribution: str, other: str | None) -> bool:
    return other is not None and canonical(distribution) == canonical(other)


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
