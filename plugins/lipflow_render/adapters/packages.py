"""The packages that adapters call: where to get them, how to recognise them, and what to say when something is wrong.

This module imports neither torch nor the packages, so that plugins are listed quickly.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from lipflow_core.errors import PluginError


@dataclass(frozen=True)
class Package:
    """A package that the user may have installed.

    Args:
        name: Import name.
        module: The module that has `functions`.
        functions: The functions that the adapter calls.
        mark: Glob in the package's folder that matches the real package only.
        source: Address of its repository.
        licence: Its licence, and a warning if one is needed before installing it.
    """

    name: str
    module: str
    functions: tuple[str, ...]
    mark: str
    source: str
    licence: str

    @property
    def install(self) -> str:
        """The command that builds and installs it, with the licence as a comment."""
        return f"pip install --no-build-isolation git+https://{self.source}.git  # {self.licence}"

    def is_installed(self) -> bool:
        """Whether the real package is installed, and not another one of its name. Imports nothing."""
        return any(any(Path(folder).glob(self.mark)) for folder in self._folders())

    def check_genuine(self) -> None:
        """Check that no other package of this name is installed, without importing it, since that runs its code.

        Raises:
            PluginError: If another package is installed under the name, or the package is not compiled.
        """
        folders = self._folders()
        if folders and not self.is_installed():
            raise PluginError(
                f"renderer '{self.name}' needs {self.name} of {self.source}, but the package at {folders[0]} "
                f"is another package of that name, or not compiled: it has no {self.mark}",
                f"pip uninstall {self.name}, then install it with: {self.install}",
            )

    def load(self) -> ModuleType:
        """Import the module with its functions.

        Raises:
            PluginError: If the package is not installed, is another one of its name, can't be imported, or is too old.
        """
        self.check_genuine()
        try:
            module = importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            if error.name != self.name:
                raise self._broken(error) from error
            raise PluginError(
                f"renderer '{self.name}' needs {self.name}, which is not installed",
                f"install it with: {self.install}",
            ) from error
        except Exception as error:
            raise self._broken(error) from error
        if lacking := [function for function in self.functions if not hasattr(module, function)]:
            raise PluginError(
                f"renderer '{self.name}' needs {', '.join(lacking)} of {self.module}, which the installed one lacks",
                f"install the present version with: {self.install}",
            )
        return module

    def _folders(self) -> list[str]:
        """Folders of a package of this name, or its file if it is a single module."""
        try:
            found = importlib.util.find_spec(self.name)
        except (ImportError, ValueError):
            return []
        if found is None:
            return []
        return list(found.submodule_search_locations or [found.origin])

    def _broken(self, error: Exception) -> PluginError:
        text = " ".join(str(error).split())
        return PluginError(
            f"renderer '{self.name}': importing {self.module} failed: {type(error).__name__}: {text}",
            f"it must be compiled against the installed torch: {self.install}",
        )


DRTK = Package(
    name="drtk",
    module="drtk",
    functions=("rasterize", "render", "interpolate", "edge_grad_estimator"),
    mark="rasterize_ext*",
    source="github.com/facebookresearch/DRTK",
    licence="MIT licence; PyPI's 'drtk' is an unrelated upload",
)
NVDIFFRAST = Package(
    name="nvdiffrast",
    module="nvdiffrast.torch",
    functions=("RasterizeCudaContext", "rasterize", "interpolate", "texture", "antialias"),
    mark="torch/ops.py",
    source="github.com/NVlabs/nvdiffrast",
    licence="NVIDIA Source Code License: for research or evaluation only, not commercially",
)
