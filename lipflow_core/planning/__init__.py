"""Plans every part of a spec, and reports every pair of parts that does not fit, before anything is built.

Imports no torch, since only the `plan` methods of Configs are called. `walk` plans the slots one after another,
`priors` plans the priors of training, stages and fitting together, `findings` collects what does not fit, and
`blueprint` is the result.
"""

from lipflow_core.planning.blueprint import Blueprint, PlannedPart
from lipflow_core.planning.walk import plan

__all__ = ["Blueprint", "PlannedPart", "plan"]
