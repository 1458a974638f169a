"""Mix freely: every combination of shipped components trains and fits, or is refused with a reason."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache

import pytest

import lipflow_core
from lipflow_core.errors import CompatibilityError
from lipflow_core.fitting import fit
from lipflow_core.planning import plan
from lipflow_core.plans import CaptureInputs
from lipflow_core.registry import default_registry
from lipflow_core.selection import spread
from lipflow_core.splits import load_frames

REGISTRY = default_registry()


def names(kind: str) -> list[str]:
    """Shipped components of a kind that can run here."""
    return [
        component.name
        for component in REGISTRY.components(kind)
        if REGISTRY.distribution(component) == "lipflow-core"
        and not REGISTRY.missing(component)
        and (kind != "renderer" or "cpu" in component.capabilities)
    ]


TAKES = {
    "standard-normal": set(),
    "kl": {"driving"},
    "mixture": {"driving"},
    "flow": {"driving", "flow"},
    "flow-student": {"driving", "flow"},
    "flow-matching": {"driving"},
}
"""What each prior takes by default; a new prior needs a line here."""

FLOWS = [None, *({"type": flow, "coupling": coupling} for flow in names("flow") for coupling in names("coupling"))]
DEFAULT_RENDERER = "cpu"
"""The renderer that every combination of the other parts is asked with."""


def spelled(value: object) -> str:
    match value:
        case None:
            return "none"
        case {"same_as": slot}:
            return f"as {slot}"
        case {"type": flow, "coupling": coupling}:
            return f"{flow}/{coupling}"
    return str(value)


def spec_of(encoder, driving, prior, flow, decoder, renderer) -> lipflow_core.Spec:
    data = {
        "name": "product",
        "preset": "tiny",
        "device": "cpu",
        "capture": "dome",
        "encoder": encoder,
        "driving": driving,
        "prior": prior,
        "flow": flow,
        "decoder": decoder,
        "renderer": renderer,
        "training": {"stages": [{"steps": 1}], "evaluate_every": 100, "checkpoint_every": 100},
        "fitting": {
            # Pictures of a few pixels hardly move with an untrained decoder; keypoints do.
            "objectives": [
                {"type": "keypoint"},
                {"type": "photometric", "target": "headset"},
                {"type": "latent-likelihood", "weight": 0.01},
            ],
            "steps": 10,
            "patience": 11,
        },
    }
    context = {"registry": REGISTRY, "preset": "tiny"}
    return lipflow_core.Spec.model_validate(data, context=context)


def misfits(combination) -> list[tuple[str, str]]:
    """The pairs that a user of the paper would expect not to fit, told without the components' own plans."""
    encoder, driving, prior, flow, *_ = combination
    conditional, flowing = "driving" in TAKES[prior], "flow" in TAKES[prior]
    found = []
    if conditional and driving is None:
        found.append((f"prior '{prior}'", "driving"))
    if driving is not None and not conditional and encoder != {"same_as": "driving"}:
        found.append((f"driving encoder '{driving}'", f"prior '{prior}'"))
    if flowing and flow is None:
        found.append((f"prior '{prior}'", "flow"))
    if flow is not None and not flowing:
        found.append((f"prior '{prior}'", f"flow '{flow['type']}'"))
    if encoder == {"same_as": "driving"} and driving is None:
        found.append(("encoder", "driving"))
    return found


def combinations() -> Iterator[tuple]:
    """All combinations of the other parts with the default renderer; and with each other renderer as many of those that
    fit together as show it every part once, since it meets the other parts in meshes, textures and cameras alone."""
    others = list(
        itertools.product(
            [*names("encoder"), {"same_as": "driving"}],
            [None, *names("encoder")],
            names("prior"),
            FLOWS,
            names("decoder"),
        )
    )
    fitting = [parts for parts in others if not misfits((*parts, DEFAULT_RENDERER))]
    for renderer in names("renderer"):
        if renderer == DEFAULT_RENDERER:
            yield from ((*parts, renderer) for parts in others)
            continue
        shown = set()
        for parts in fitting:
            new = {(slot, spelled(part)) for slot, part in enumerate(parts)} - shown
            if new:
                shown |= new
                yield (*parts, renderer)


COMBINATIONS = list(combinations())


@cache
def dome():
    return spec_of("dam", None, "standard-normal", None, "dam", "cpu").capture.build(CaptureInputs())


@pytest.mark.parametrize("combination", COMBINATIONS, ids=lambda c: " × ".join(map(spelled, c)))
def test_trains_and_fits_or_says_why_not(combination, tmp_path):
    spec = spec_of(*combination)
    if expected := misfits(combination):
        with pytest.raises(CompatibilityError) as refused:
            plan(spec)
        lines = str(refused.value).splitlines()
        named = [pair for pair in expected if any(all(word in line for word in pair) for line in lines)]
        assert named, f"nothing says that one of {expected} does not fit: {refused.value}"
        return
    trained = lipflow_core.train(spec, tmp_path / "run", capture=dome()).avatar
    split = dome().split("held-out")
    target = load_frames(split, spread(2, len(split)), plan(spec).fitted_observations)
    result = fit(trained, target, spec.fitting)
    total = result.curves["total"]
    assert (total[:, -1] < total[:, 0]).all(), "ten steps did not lower the loss"
