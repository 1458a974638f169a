"""Run grids of systems and tasks, and tell how sure their differences are."""

from lipflow_core.ablation.ablate import Ablation, ablate
from lipflow_core.ablation.grid import Grid, load_grid

__all__ = ["Ablation", "Grid", "ablate", "load_grid"]
