"""lipflow-core: latent priors learned for inference time, from one YAML spec to a fitted face.

The public names are loaded on first use, so that `import lipflow_core` stays fast and needs no torch.
"""

from __future__ import annotations

from lipflow_core.version import __version__

TYPE_CHECKING = False  # type checkers take it for typing's; importing typing would cost more than all the rest here

_PUBLIC = {
    "Avatar": "lipflow_core.avatar",
    "LipflowError": "lipflow_core.errors",
    "Spec": "lipflow_core.specs",
    "ablate": "lipflow_core.ablation",
    "assemble": "lipflow_core.assembly",
    "evaluate": "lipflow_core.evaluation",
    "fit": "lipflow_core.fitting",
    "load_spec": "lipflow_core.specs",
    "open_model": "lipflow_core.model_directory",
    "register": "lipflow_core.registering",
    "save_model": "lipflow_core.model_directory",
    "train": "lipflow_core.training",
}

__all__ = [
    "Avatar",
    "LipflowError",
    "Spec",
    "__version__",
    "ablate",
    "assemble",
    "evaluate",
    "fit",
    "load_spec",
    "open_model",
    "register",
    "save_model",
    "train",
]

if TYPE_CHECKING:
    from typing import Any

    from lipflow_core.ablation import ablate
    from lipflow_core.assembly import assemble
    from lipflow_core.avatar import Avatar
    from lipflow_core.errors import LipflowError
    from lipflow_core.evaluation import evaluate
    from lipflow_core.fitting import fit
    from lipflow_core.model_directory import open_model, save_model
    from lipflow_core.registering import register
    from lipflow_core.specs import Spec, load_spec
    from lipflow_core.training import train


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        import importlib

        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'lipflow_core' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
