"""Executors, which run cells somewhere: in processes of this machine, or by a scheduler of others."""

from lipflow_core.ablation.executors.interface import Executor

__all__ = ["Executor"]
