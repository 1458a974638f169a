"""Specs: each describes a model in one YAML file, from capture to fitted face. Imports no torch."""

from lipflow_core.specs.loading import dump_spec, find_spec, load_spec, shipped_specs
from lipflow_core.specs.model import Spec

__all__ = ["Spec", "dump_spec", "find_spec", "load_spec", "shipped_specs"]
