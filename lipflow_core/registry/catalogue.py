"""The registry: all plugins that the layers name, their components, and how a name in a spec finds its component."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pluggy

from lipflow_core import hooks
from lipflow_core.errors import PluginError
from lipflow_core.hooks import API_VERSION, KINDS, Component, Kind
from lipflow_core.registry.discovery import (
    describe,
    is_local_neighbour,
    load_attribute,
    load_plugin,
    localise,
    missing_requirements,
)
from lipflow_core.registry.layers import Entry, Layer, suggest

if TYPE_CHECKING:
    from lipflow_core.parts import Config

Status = Literal["ok", "disabled", "broken"]

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(eq=False)
class Plugin:
    """One plugin as the layers settled it.

    Attributes:
        name: Its name in the registry.
        entry: What the layers say of it together.
        origin: The layer that decided last.
        status: "ok", "disabled" or "broken".
        cause: Why it is broken.
        components: Its descriptors, import paths made absolute.
    """

    name: str
    entry: Entry
    origin: str
    status: Status = "ok"
    cause: str | None = None
    error: BaseException | None = None
    components: tuple[Component, ...] = ()

    @property
    def source(self) -> str:
        """Module or path."""
        return str(self.entry.path or self.entry.module)

    @property
    def distribution(self) -> str:
        """Name of the distribution that brought it; for a plugin given by path, its name in the registry."""
        if self.entry.distribution is None:
            self.entry = replace(self.entry, distribution=_distribution_of(self))
        return self.entry.distribution

    @property
    def version(self) -> str:
        """Version of its distribution; for a plugin given by path, "sha256:" and a hash of its code."""
        if self.entry.path is None:
            import importlib.metadata

            try:
                return importlib.metadata.version(self.distribution)
            except importlib.metadata.PackageNotFoundError:
                return _lipflow_version() if self.distribution == "lipflow-core" else "unknown"
        return f"sha256:{_hash_of_code(self.entry.path)}"


@dataclass(frozen=True, eq=False)
class Refusal:
    """A component that was found but can't be used, and why."""

    plugin: Plugin
    component: Component
    reason: str
    hint: str


@dataclass(eq=False)
class Registry:
    """Plugins and their components, as an ordered stack of layers decides.

    Args:
        layers: Lowest first; later ones override.

    Example:
        >>> registry = default_registry()
        >>> registry.names("prior")
        ('flow', 'kl', 'standard-normal')
        >>> registry.component("prior", "kl").summary
    """

    layers: Sequence[Layer]
    plugins: Mapping[str, Plugin] = field(init=False)
    refusals: list[Refusal] = field(init=False, default_factory=list)
    notes: list[str] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.aliases: dict[str, dict[str, tuple[str, str]]] = {kind: {} for kind in KINDS}
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

    def load_config(self, component: Component) -> type[Config]:
        """The component's Config class.

        Raises:
            PluginError: If it can't be imported or is no Config.
        """
        from lipflow_core.parts import Config

        config = load_object(component.config, component, check_requirements=False)
        if not (isinstance(config, type) and issubclass(config, Config)):
            raise PluginError(
                f"{component.kind} '{component.name}': {component.config} is no subclass of lipflow_core.parts.Config",
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
        hint = suggest(wanted, self.names(kind)).removesuffix("")
        import difflib

        if close := difflib.get_close_matches(name, aliases, n=1):
            hint = f"did you mean '{close[0]}'? {hint}"
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
            raise PluginError(message, suggest(key, plugins) + "; a new one needs 'module' or 'path'")
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
                plugin.components = tuple(_absolute(c, package) for c in _offered(manager, plugin.name))
            except Exception as error:
                plugin.status, plugin.cause, plugin.error = "broken", describe(error), error
                if manager.has_plugin(plugin.name):
                    manager.unregister(name=plugin.name)
                continue
            for component in plugin.components:
                self._add(plugin, component)

    def _add(self, plugin: Plugin, component: Component) -> None:
        if refusal := _refusal(plugin, component):
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


def _offered(manager: pluggy.PluginManager, name: str) -> Iterable[Component]:
    """What one plugin's hook yields. Called plugin by plugin, so that one that raises leaves the others whole."""
    others = [plugin for other, plugin in manager.list_name_plugin() if other != name and plugin is not None]
    results = manager.subset_hook_caller("lipflow_components", others)()
    for component in (component for result in results for component in result):
        if not isinstance(component, Component):
            raise PluginError(f"lipflow_components() yielded {component!r}, not a lipflow_core.hooks.Component")
        _check(component)
        yield component


def _check(component: Component) -> None:
    if component.kind not in KINDS:
        raise PluginError(f"component '{component.name}' is of unknown kind '{component.kind}'")
    if not _NAME.fullmatch(component.name):
        raise PluginError(f"{component.kind} name '{component.name}' must be lower case letters, digits and hyphens")
    for path in (component.implementation, component.config):
        if not _IMPORT_PATH.fullmatch(path):
            raise PluginError(f"{component.kind} '{component.name}': '{path}' is not of the form package.module:Class")


def _absolute(component: Component, package: str | None) -> Component:
    if package is None:
        return component
    return replace(
        component,
        implementation=localise(component.implementation, package),
        config=localise(component.config, package),
    )


def _refusal(plugin: Plugin, component: Component) -> Refusal | None:
    """The handshake: a component runs on the API's major that it was written for, with its minor or a later one."""
    major, minor = component.api
    if (major, minor) == API_VERSION or (major == API_VERSION[0] and minor <= API_VERSION[1]):
        return None
    ours = f"{API_VERSION[0]}.{API_VERSION[1]}"
    newer = (major, minor) > API_VERSION
    reason = (
        f"{component.kind} '{component.name}' ({plugin.distribution}) is for plugin API {major}.{minor}, "
        f"which is {'newer' if newer else 'older'} than this lipflow-core's {ours}"
    )
    cure = (
        "upgrade lipflow-core: pip install --upgrade lipflow-core"
        if newer
        else f"upgrade {plugin.distribution}, or ask its author for a version for plugin API {API_VERSION[0]}.x"
    )
    return Refusal(plugin, component, reason, cure)


def load_object(import_path: str, component: Component, *, check_requirements: bool = True) -> Any:
    """Import a component's class.

    Args:
        import_path: "package.module:Class".
        component: Whose it is.
        check_requirements: Whether the packages that it requires must be there.

    Raises:
        PluginError: If a required package is missing, with the command that installs it, or if the import fails.
    """
    who = f"{component.kind} '{component.name}'"
    if check_requirements and (missing := missing_requirements(component.requires)):
        raise PluginError(
            f"{who} needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed",
            f"install it with: {component.install}" if component.install else "install it and try again",
        )
    try:
        return load_attribute(import_path)
    except Exception as error:
        hint = None
        if isinstance(error, ModuleNotFoundError) and is_local_neighbour(error.name, import_path):
            hint = f"a plugin given by path imports its own files relatively: from .{error.name} import …"
        raise PluginError(f"{who} can't be loaded: importing {import_path} failed: {describe(error)}", hint) from error


def _distribution_of(plugin: Plugin) -> str:
    if plugin.entry.path is not None:
        return plugin.name
    import importlib.metadata

    top = plugin.entry.module.partition(":")[0].partition(".")[0]
    owners = importlib.metadata.packages_distributions().get(top)
    return owners[0] if owners else plugin.name


def _hash_of_code(path: Path) -> str:
    import hashlib

    digest = hashlib.sha256()
    # Siblings of a single file are not hashed: which of them it imports is not known.
    for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
        digest.update(file.relative_to(path.parent).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _lipflow_version() -> str:
    from lipflow_core import __version__

    return __version__
