"""Checks every component with parameters: seeds, saving, dtypes, batch sizes, gradients, independence of rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from lipflow_core.avatar import frozen
from lipflow_core.records import FaceState, Record
from lipflow_core.testing import inputs
from lipflow_core.testing.subject import Check, Subject, close
from lipflow_core.testing.world import AT_LEAST, cast


def outputs(
    subject: Subject, module: nn.Module, batch: int, *, seed: int = 1, dtype: torch.dtype | None = None
) -> dict[str, Tensor]:
    """Run a component on random inputs, and collect all outputs by name, each with the batch axis first.

    Args:
        subject: Subject that is examined.
        module: Component, built.
        batch: Number of samples; sample i is the same in batches of any size.
        seed: Seed of the inputs.
        dtype: Type of the inputs; that of the module's parameters and buffers if None, float32 if it has none.
    """
    if dtype is None:
        numbers = [*module.parameters(), *module.buffers()]
        dtype = next((tensor.dtype for tensor in numbers if tensor.is_floating_point()), torch.float32)
    return _CALLS[subject.part.kind](subject, module, batch, seed, dtype)


def code_of(subject: Subject, batch: int, seed: int, dtype: torch.dtype) -> Tensor:
    width = getattr(subject.given, "code", None) or subject.given.features
    return rows(lambda n: inputs.normal(seed, n, width, dtype=dtype), batch)


def rows(make: Callable[[int], Any], batch: int) -> Any:
    """Take the first `batch` rows of a larger batch, so that a row does not depend on the batch's size."""
    made = make(max(batch, AT_LEAST))
    index = torch.arange(batch)
    return made[index] if isinstance(made, Tensor) else made.rows(index)


def observed_by(subject: Subject, module: Any, batch: int, seed: int, dtype: torch.dtype) -> Record:
    """Make an encoder's input: the observation of its modality, standardised by the template if it is a surface."""
    observed = subject.world.frame(batch, seed=seed, dtype=dtype)[module.modality]
    return cast(subject.world.template, dtype).standardize(observed) if isinstance(observed, FaceState) else observed


def _encoder(subject: Subject, module: nn.Module, batch: int, seed: int, dtype: torch.dtype) -> dict[str, Tensor]:
    encoding = module(observed_by(subject, module, batch, seed, dtype))
    return {"mean": encoding.mean, "log_std": encoding.log_std, "features": encoding.features}


def driving_of(subject: Subject, batch: int, seed: int, dtype: torch.dtype) -> Any:
    """Make a driving encoding for a prior that takes one; None for other priors."""
    if subject.given.driving is None or "driving" not in subject.planned.needs:
        return None
    return rows(lambda n: inputs.encoding(n, seed=seed, dtype=dtype, code=subject.given.code), batch)


def _prior(subject: Subject, module: nn.Module, batch: int, seed: int, dtype: torch.dtype) -> dict[str, Tensor]:
    code = code_of(subject, batch, seed, dtype)
    driving = driving_of(subject, batch, seed + 10, dtype)
    posterior = rows(lambda n: inputs.encoding(n, seed=seed + 20, dtype=dtype, code=subject.given.code), batch)
    return {
        "divergence": module.divergence(posterior, code, driving),
        "log_prob": module.log_prob(code, driving),
    }


def context_of(subject: Subject, batch: int, seed: int, dtype: torch.dtype) -> Tensor | None:
    """Make a context for a flow or coupling; None if it is unconditional."""
    if subject.given.context == 0:
        return None
    return rows(lambda n: inputs.normal(seed, n, subject.given.context, dtype=dtype), batch)


def _flow(subject: Subject, module: nn.Module, batch: int, seed: int, dtype: torch.dtype) -> dict[str, Tensor]:
    code, log_det = module(code_of(subject, batch, seed, dtype), context_of(subject, batch, seed + 10, dtype))
    return {"code": code, "log_abs_det": log_det}


def _decoder(subject: Subject, module: nn.Module, batch: int, seed: int, dtype: torch.dtype) -> dict[str, Tensor]:
    camera = rows(lambda n: inputs.cameras(n, 2, 32, 32, dtype), batch)
    face = module(code_of(subject, batch, seed, dtype), camera.view_direction)
    return {"vertices": face.vertices, "texture": face.texture}


_CALLS = {"encoder": _encoder, "prior": _prior, "flow": _flow, "coupling": _flow, "decoder": _decoder}


def same_seed_same_component(subject: Subject) -> None:
    one, other = subject.build(seed=3), subject.build(seed=3)
    for (name, first), second in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(first, second), f"'{name}' differs between two builds from one seed"
    first, second = outputs(subject, one, 3), outputs(subject, other, 3)
    for name, value in first.items():
        assert torch.equal(value, second[name]), f"{name} differs between two builds from one seed"


def global_randomness_is_untouched(subject: Subject) -> None:
    module = subject.build()
    before = torch.random.get_rng_state()
    outputs(subject, module, 3)
    assert torch.equal(before, torch.random.get_rng_state()), "evaluation draws from torch's global generator"


def save_and_load(subject: Subject) -> None:
    original = subject.build(seed=1, jitter=0.05)
    restored = subject.build(seed=2)
    restored.load_state_dict(load(save({k: v.contiguous() for k, v in original.state_dict().items()})))
    expected, got = outputs(subject, original, 3), outputs(subject, restored, 3)
    for name, value in expected.items():
        assert torch.equal(value, got[name]), f"{name} differs after saving and loading"


def double_precision(subject: Subject) -> None:
    single = outputs(subject, subject.build(jitter=0.02), 3)
    double = outputs(subject, subject.build(jitter=0.02, dtype=torch.float64), 3, dtype=torch.float64)
    for name, value in double.items():
        assert single[name].dtype == torch.float32, f"{name} is {single[name].dtype} for float32 inputs"
        assert value.dtype == torch.float64, f"{name} is {value.dtype} for float64 inputs"
        assert torch.isfinite(value).all(), f"{name} is not finite in float64"


def empty_and_single_batches(subject: Subject) -> None:
    module = subject.build()
    one = outputs(subject, module, 1)
    for name, value in outputs(subject, module, 0).items():
        assert value.shape[0] == 0, f"{name} of an empty batch has shape {tuple(value.shape)}"
        assert value.shape[1:] == one[name].shape[1:], f"{name} changes its shape with the batch's size"
        assert one[name].shape[0] == 1, f"{name} of one sample has shape {tuple(one[name].shape)}"


def rows_are_independent(subject: Subject) -> None:
    module = subject.build(jitter=0.05, dtype=torch.float64)
    together, alone = outputs(subject, module, 4), outputs(subject, module, 1)
    for name, value in together.items():
        close(f"{name} of a sample depends on the others of its batch", value[:1], alone[name], 1e-9)


def training_mode_works(subject: Subject) -> None:
    module = subject.build().train()
    for name, value in outputs(subject, module, 4).items():
        assert torch.isfinite(value).all(), f"{name} is not finite in training mode"


def gradients_reach_every_parameter(subject: Subject) -> None:
    module = subject.build(jitter=0.05, dtype=torch.float64).train()
    if not list(module.parameters()):
        return
    total = sum(
        (value * inputs.normal(7, *value.shape, dtype=value.dtype)).sum()
        for value in outputs(subject, module, 4).values()
    )
    total.backward()
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        assert parameter.grad is not None, f"no gradient reaches parameter '{name}'"
        assert torch.isfinite(parameter.grad).all(), f"the gradient of parameter '{name}' is not finite"
        assert parameter.grad.abs().max() > 0, f"the gradient of parameter '{name}' is all zero"


def frozen_it_gives_the_same(subject: Subject) -> None:
    module = subject.build(jitter=0.05, dtype=torch.float64)
    before = outputs(subject, module, 3)
    with frozen(module):
        meanwhile = outputs(subject, module, 3)
    after = outputs(subject, module, 3)
    for name, value in before.items():
        close(f"{name} changes when the model is frozen for a fit", meanwhile[name], value, 1e-9)
        close(f"{name} is not what it was before the model was frozen", after[name], value, 1e-9)


def forward_mode_agrees(subject: Subject) -> None:
    module = subject.build(jitter=0.05, dtype=torch.float64)
    function, given = _differentiable(subject, module)
    tangents = torch.stack([inputs.normal(seed, *given.shape, dtype=given.dtype) for seed in (7, 8)])
    try:
        with warnings.catch_warnings():
            # torch's forward mode calls what torch has deprecated, and vmap tells what it does one by one.
            warnings.simplefilter("ignore")
            # As `jacfwd` does it: several directions at once.
            forward = torch.func.vmap(
                lambda tangent: torch.func.jvp(function, (given,), (tangent,))[1], randomness="same"
            )(tangents)
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise AssertionError(f"torch.func.jvp, or vmap of it, does not go through it: {what}") from error
    weights = inputs.normal(9, *forward.shape[1:], dtype=given.dtype)
    leaf = given.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((function(leaf) * weights).sum(), leaf, materialize_grads=True)
    along = (forward * weights).flatten(1).sum(1)
    close("forward mode differs from reverse mode", along, (tangents * gradient).flatten(1).sum(1), 1e-5)


def _differentiable(subject: Subject, module: Any) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """A component as a function of one tensor, and that tensor for three samples."""
    dtype = torch.float64
    if subject.part.kind == "encoder":
        observed = observed_by(subject, module, 3, 1, dtype)
        name, given = next((name, tensor) for name, tensor in observed.tensors() if tensor.is_floating_point())
        return lambda tensor: module(replace(observed, **{name: tensor})).mean, given
    code = code_of(subject, 3, 1, dtype)
    if subject.part.kind == "decoder":
        directions = inputs.cameras(3, 2, 32, 32, dtype).view_direction

        def decoded(code: Tensor) -> Tensor:
            face = module(code, directions)
            return torch.cat([face.vertices.flatten(1), face.texture.flatten(1)], dim=1)

        return decoded, code
    if subject.part.kind == "prior":
        driving = driving_of(subject, 3, 2, dtype)
        conditioned = module.condition(driving)
        return lambda code: torch.stack([module.log_prob(code, driving), conditioned.fitting_log_prob(code)], 1), code
    context = context_of(subject, 3, 2, dtype)
    return lambda code: torch.cat([result.reshape(3, -1) for result in module(code, context)], dim=1), code


CHECKS = [
    Check("same seed, same component", same_seed_same_component),
    Check("global randomness is untouched", global_randomness_is_untouched),
    Check("saving and loading changes nothing", save_and_load),
    Check("works in float64", double_precision),
    Check("works for batches of 0 and 1", empty_and_single_batches),
    Check("rows are independent in evaluation", rows_are_independent),
    Check("frozen, it gives the same", frozen_it_gives_the_same),
    Check("works in training mode", training_mode_works),
    Check("gradients reach every parameter", gradients_reach_every_parameter),
    Check("forward mode agrees with reverse mode", forward_mode_agrees),
]
