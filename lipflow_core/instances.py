"""Finds components that were given as objects, which the spec does not name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lipflow_core.avatar import SLOTS, Avatar
from lipflow_core.parts import Part, SameAs
from lipflow_core.registry import load_object
from lipflow_core.specs import Spec


def given_parts(avatar: Avatar, spec: Spec) -> dict[str, str]:
    """Find the slots whose component is not the one that the spec names; slot → module and name of its class."""
    found = {}
    for slot in SLOTS:
        module, part = avatar.part(slot), part_of(spec, slot)
        if module is not None and part is not None and type(module) is not _class(part):
            found[slot] = name_of(type(module))
    return found


def missing_parts(given: Mapping[str, str], spec: Spec) -> Iterator[tuple[str, str, Part]]:
    """Yield slot, class and the spec's part for each given component of another class than the spec names.

    Args:
        given: Result of `given_parts` when the model was written.
        spec: The spec that it is opened with.
    """
    for slot, name in given.items():
        part = part_of(spec, slot) if slot in SLOTS else None
        if part is not None and name_of(_class(part)) != name:
            yield slot, name, part


def part_of(spec: Spec, slot: str) -> Part | None:
    """Return the component that a spec names in a slot; of a shared slot, that of the other."""
    part = getattr(spec, slot)
    return spec.driving if isinstance(part, SameAs) else part


def how_to_reopen(slot: str, name: str) -> str:
    """Say how a model with a component given as an object can be opened again."""
    kind = "encoder" if slot in ("encoder", "driving") else slot
    short = name.rpartition(".")[2]
    return (
        f'Register its class, lipflow_core.register("{kind}", NAME, {short}), and name it in the spec, {slot}: NAME; '
        f'or open the model with open_model(FOLDER, overrides=["{slot}=NAME"]).'
    )


def warning_of(avatar: Avatar, spec: Spec) -> str | None:
    """Say which components keep a model from being opened again by its spec alone; None if there are none."""
    found = given_parts(avatar, spec)
    if not found:
        return None
    listed = ", ".join(
        f"{slot} is a {name}, but its spec names '{part_of(spec, slot).name}'" for slot, name in found.items()
    )
    slot, name = next(iter(found.items()))
    return f"model '{spec.name}' can't be opened again by its spec alone: its {listed}. {how_to_reopen(slot, name)}"


def name_of(kind: type) -> str:
    """Module and name of a class."""
    return f"{kind.__module__}.{kind.__qualname__}"


def _class(part: Part) -> type:
    return load_object(part.component.implementation, part.component)
