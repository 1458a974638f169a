"""Makes and reads `lock.json` of a model directory: the versions that made the model, and hashes of its files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lipflow_core.config import Config
from lipflow_core.errors import ModelError
from lipflow_core.file_names import check_file_name
from lipflow_core.hooks import API_VERSION
from lipflow_core.parts import Part
from lipflow_core.plans import Plan, Roles
from lipflow_core.registry import Registry
from lipflow_core.specs import Spec, shipped_specs
from lipflow_core.spelling import canonical
from lipflow_core.version import __version__

SPEC, WEIGHTS, LOCK = "spec.yaml", "weights.safetensors", "lock.json"
RUN, RESULT = "run.json", "result.json"
"""RUN marks the folder of a training run, whose model only the run itself writes; RESULT marks a finished run."""
FORMAT = "lipflow-core model 1"
LARGEST = 2**22
"""Largest size in a shape of a lock file, so that a model of a few bytes can't request unlimited memory."""


class LockedPart(BaseModel):
    """A component with the distribution that provides it, and its version."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    kind: str
    name: str
    distribution: str
    version: str


class Lock(BaseModel):
    """The content of `lock.json`: the versions that made a model, its capture's plan, and hashes of its files.

    Args:
        format: Format of the model directory.
        lipflow_core: Version of lipflow-core.
        plugin_api: Version of the plugin API, (major, minor).
        torch: Version of torch.
        parts: Every component in the spec.
        shapes: Shapes of the capture's tensors, so that the model opens without the capture.
        roles: Roles of the capture's observations.
        sha256: File's name → hash of its content.
        given: Slot → class of a component that was given as an object and that the spec does not name.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: str
    lipflow_core: str
    plugin_api: tuple[int, int]
    torch: str
    parts: tuple[LockedPart, ...]
    shapes: dict[str, Annotated[tuple[Annotated[int, Field(ge=0, le=LARGEST)], ...], Field(max_length=5)]]
    roles: Roles
    sha256: dict[str, str]
    given: dict[str, str] = Field(default_factory=dict)

    @property
    def capture(self) -> Plan:
        """Plan of the capture, as far as opening the model needs it."""
        return Plan(outputs=self.shapes, roles=self.roles)


def make_lock(
    spec: Spec,
    capture: Plan,
    torch_version: str,
    content: Mapping[str, bytes],
    registry: Registry,
    given: Mapping[str, str],
) -> Lock:
    """Make the lock of a model.

    Args:
        spec: Spec that the model was assembled from.
        capture: Plan of its capture.
        torch_version: Version of torch that made the model.
        content: File's name → content, for the model's other files.
        registry: Registry that versions are looked up in.
        given: Slot → class of a component that the spec does not name (`lipflow_core.instances`).
    """
    parts = [
        LockedPart(
            kind=part.kind,
            name=part.name,
            distribution=part.distribution,
            version=registry.version(part.component),
        )
        for part in parts_of(spec)
    ]
    return Lock(
        format=FORMAT,
        lipflow_core=__version__,
        plugin_api=API_VERSION,
        torch=torch_version,
        parts=tuple(dict.fromkeys(parts)),
        shapes=dict(capture.outputs),
        roles=capture.roles,
        sha256={name: hashlib.sha256(data).hexdigest() for name, data in content.items()},
        given=dict(given),
    )


def read_lock(directory: Path) -> Lock:
    """Read `lock.json`.

    Raises:
        lipflow_core.errors.ModelError: If the model is missing or damaged, or has another format.
    """
    check_file_name(directory / LOCK, ModelError)
    if not directory.is_dir():
        if directory.suffix in (".yaml", ".yml") or (not directory.exists() and str(directory) in shipped_specs()):
            raise ModelError(
                f"{directory}: is a spec, not a model directory",
                f"Train it first, with `lipflow-core train {directory} --out DIR`, and give that folder.",
            )
        what = "is a file, not a model directory" if directory.exists() else "there is no such model directory"
        raise ModelError(f"{directory}: {what}", "Give the folder that `assemble --out` or training wrote.")
    if (directory / RUN).is_file() and not (directory / LOCK).is_file():
        finished = (directory / RESULT).is_file()
        raise ModelError(
            f"{directory}: its training is finished, but {LOCK} is gone"
            if finished
            else f"{directory}: its training is not finished, so there is no model yet",
            f"{'Write the model again' if finished else 'Continue'} with the command that started it and --resume: "
            f"`lipflow-core train SPEC [KEY=VALUE …] --out {directory} --resume`.",
        )
    missing = [name for name in (LOCK, SPEC, WEIGHTS) if not (directory / name).is_file()]
    if missing:
        raise ModelError(
            f"{directory}: lacks {', '.join(missing)}", f"A model directory holds {SPEC}, {WEIGHTS} and {LOCK}."
        )
    file = directory / LOCK
    try:
        data = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise ModelError(f"{file}: is damaged: it is not valid JSON{where}", "Copy the model again.") from error
    except OSError as error:
        raise ModelError(f"{file}: can't be read: {error.strerror or error}") from error
    found = data.get("format") if isinstance(data, Mapping) else None
    if found != FORMAT:
        raise ModelError(
            f"{file}: has format {found!r}, not {FORMAT!r}", "It may be from a newer lipflow-core: upgrade it."
        )
    try:
        return Lock.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelError(f"{file}: is damaged: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def other_versions(lock: Lock, spec: Spec, registry: Registry) -> Iterator[str]:
    """Yield a line for each version that differs from the one that the model was made with."""
    if lock.lipflow_core != __version__:
        yield f"was made with lipflow-core {lock.lipflow_core}; this is {__version__}"
    current = {(part.kind, part.name): part for part in parts_of(spec)}
    for locked in lock.parts:
        part = current.get((locked.kind, locked.name))
        if part is None:
            continue  # replaced by an override
        version = registry.version(part.component)
        same = canonical(locked.distribution) == canonical(part.distribution)
        if (not same or locked.version != version) and not (locked.distribution == part.distribution == "lipflow-core"):
            yield (
                f"{locked.kind} '{locked.name}' was {locked.distribution} {locked.version}; "
                f"here it is {part.distribution} {version}"
            )


def parts_of(block: Config) -> list[Part]:
    """Collect every component in a spec, nested ones included."""
    found: list[Part] = []
    for name in type(block).model_fields:
        value = getattr(block, name)
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, Part):
                found += [item, *parts_of(item.config)]
            elif isinstance(item, Config):
                found += parts_of(item)
    return found
