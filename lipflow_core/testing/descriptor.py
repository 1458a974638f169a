"""Checks of every component: its descriptor, its Config and the purity of both."""

from __future__ import annotations

import re
import subprocess
import sys

from pydantic import ValidationError

from lipflow_core.config import Config, ObjectiveConfig
from lipflow_core.hooks import API_VERSION, KINDS
from lipflow_core.interfaces import (
    Capture,
    Coupling,
    Decoder,
    Flow,
    LatentPrior,
    Objective,
    ObservationEncoder,
    Renderer,
)
from lipflow_core.registry import load_object
from lipflow_core.testing.kit import Check, Subject

CONTRACTS = {
    "capture": Capture,
    "encoder": ObservationEncoder,
    "prior": LatentPrior,
    "flow": Flow,
    "coupling": Coupling,
    "decoder": Decoder,
    "renderer": Renderer,
    "objective": Objective,
}


def descriptor_is_complete(subject: Subject) -> None:
    component = subject.part.component
    assert component.kind in KINDS
    for name in (component.name, *component.aliases):
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name), f"'{name}' is not lower case with hyphens"
    assert component.summary and "\n" not in component.summary, "the summary must be one line"
    assert component.api[0] == API_VERSION[0] and component.api[1] <= API_VERSION[1], f"written for API {component.api}"


def classes_are_of_their_contract(subject: Subject) -> None:
    component = subject.part.component
    implementation = load_object(component.implementation, component)
    config = subject.registry.load_config(component)
    base = ObjectiveConfig if component.kind == "objective" else Config
    assert issubclass(implementation, CONTRACTS[component.kind])
    assert issubclass(config, base), f"{config.__name__} must be a {base.__name__}"


def descriptor_and_config_import_no_torch(subject: Subject) -> None:
    module = type(subject.part.config).__module__
    if module not in sys.modules or not getattr(sys.modules[module], "__file__", None):
        return
    program = (
        "import sys, importlib.util\n"
        f"sys.path[:0] = {sys.path!r}\n"
        f"spec = importlib.util.spec_from_file_location({module!r}, {sys.modules[module].__file__!r})\n"
        "loaded = importlib.util.module_from_spec(spec)\n"
        "sys.modules[spec.name] = loaded\n"
        "spec.loader.exec_module(loaded)\n"
        "sys.exit('torch' in sys.modules and 'importing the Config imports torch')"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def presets_are_valid(subject: Subject) -> None:
    config = type(subject.part.config)
    for preset, values in config.presets.items():
        unknown = set(values) - set(config.model_fields)
        assert not unknown, f"preset '{preset}' sets options that do not exist: {sorted(unknown)}"


def options_round_trip(subject: Subject) -> None:
    part, data = subject.part, subject.part.as_data()
    data.pop("type")
    again = type(part.config).model_validate(data, context={"registry": subject.registry, "preset": None})
    assert again == part.config, "options do not survive being written to a spec and read back"


def unknown_options_are_refused(subject: Subject) -> None:
    config = type(subject.part.config)
    data = {name: value for name, value in subject.part.as_data().items() if name != "type"}
    try:
        config.model_validate({**data, "no_such_option": 1}, context={"registry": subject.registry, "preset": None})
    except ValidationError:
        return
    raise AssertionError(f"{config.__name__} accepts an option that does not exist")


def plan_is_repeatable(subject: Subject) -> None:
    assert subject.part.plan(subject.given) == subject.part.plan(subject.given)


CHECKS = [
    Check("descriptor is complete", descriptor_is_complete),
    Check("classes are of their contract", classes_are_of_their_contract),
    Check("Config imports no torch", descriptor_and_config_import_no_torch),
    Check("presets are valid", presets_are_valid),
    Check("options round-trip through a spec", options_round_trip),
    Check("unknown options are refused", unknown_options_are_refused),
    Check("plan is repeatable", plan_is_repeatable),
]
