"""Checks every component: its classes, its Config, and what it imports. Descriptors are checked by the registry."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

from pydantic import ValidationError

from lipflow_core.interfaces.contracts import CONTRACTS
from lipflow_core.registry import load_object
from lipflow_core.registry.process_layer import DISTRIBUTION
from lipflow_core.testing.plugin_api import PLUGIN_API, foreign_imports, reached_from
from lipflow_core.testing.subject import Check, Subject, refused


def classes_are_of_their_contract(subject: Subject) -> None:
    component = subject.part.component
    made = load_object(component.implementation, component), subject.registry.load_config(component)
    for found, base in zip(made, CONTRACTS[component.kind], strict=True):
        name = getattr(found, "__name__", repr(found))
        assert isinstance(found, type) and issubclass(found, base), f"{name} must derive from {base.__name__}"


def config_imports_no_torch(subject: Subject) -> None:
    if _registered(subject):
        return
    module = type(subject.part.config).__module__
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is not None and (wrong := _fault_of_importing(module, file)):
        raise AssertionError(wrong)


@cache
def _fault_of_importing(module: str, file: str) -> str | None:
    """Import a Config's module in a separate process, and return what is wrong with that; None if nothing is."""
    program = (
        "import sys, importlib.util\n"
        f"sys.path[:0] = {sys.path!r}\n"
        f"spec = importlib.util.spec_from_file_location({module!r}, {file!r})\n"
        "loaded = importlib.util.module_from_spec(spec)\n"
        "sys.modules[spec.name] = loaded\n"
        "spec.loader.exec_module(loaded)\n"
        "sys.exit('importing the module of the Config imports torch' if 'torch' in sys.modules else 0)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    return None if result.returncode == 0 else result.stderr.strip()


def presets_are_valid(subject: Subject) -> None:
    config = type(subject.part.config)
    for preset, values in config.presets.items():
        unknown = set(values) - set(config.model_fields)
        assert not unknown, f"preset '{preset}' sets options that do not exist: {sorted(unknown)}"


def options_round_trip(subject: Subject) -> None:
    config, data = subject.part.config, subject.part.as_data()
    data.pop("type")
    again = type(config).model_validate(data, context={"registry": subject.registry, "preset": None})
    assert again == config, (
        f"options do not survive being written to a spec and read back: {config!r} becomes {again!r}"
    )


def unknown_options_are_refused(subject: Subject) -> None:
    config, data = type(subject.part.config), subject.part.as_data()
    data.pop("type")
    with refused(ValidationError, f"{config.__name__} accepts an option that does not exist"):
        config.model_validate({**data, "no_such_option": 1}, context={"registry": subject.registry, "preset": None})


def plan_is_repeatable(subject: Subject) -> None:
    one, other = subject.part.plan(subject.given), subject.part.plan(subject.given)
    assert one == other, f"planning twice with the same inputs gives two plans: {one}, {other}"


def plugin_api_is_kept(subject: Subject) -> None:
    if _registered(subject):
        return
    component = subject.part.component
    entry = subject.registry.plugin(component).entry
    paths = [component.implementation, component.config, *([entry.module] if entry.module else [])]
    files = reached_from(path.partition(":")[0] for path in paths)
    wrong = foreign_imports(files.items(), PLUGIN_API)
    assert not wrong, (
        f"it imports what is no part of the plugin API and may change in any release: {'; '.join(wrong)}; "
        "see docs/plugin-api.md"
    )


def _registered(subject: Subject) -> bool:
    """Whether the component is a class of the user's own script or notebook, which nothing imports to list it."""
    return subject.registry.distribution(subject.part.component) == DISTRIBUTION


CHECKS = [
    Check("classes are of their contract", classes_are_of_their_contract),
    Check("Config imports no torch", config_imports_no_torch),
    Check("presets are valid", presets_are_valid),
    Check("options round-trip through a spec", options_round_trip),
    Check("unknown options are refused", unknown_options_are_refused),
    Check("plan is repeatable", plan_is_repeatable),
    Check("the plugin API is kept", plugin_api_is_kept),
]
