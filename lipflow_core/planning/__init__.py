"""From a spec to a blueprint: every part planned, and every pair that does not fit told, before anything is built.

Imports no torch: all that is needed are the Configs' `plan` methods. `walk` plans the slots one after another, `priors`
those of training, stages and fitting together, `findings` collects what does not fit, `blueprint` is the result.
"""

from lipflow_core.planning.blueprint import Blueprint, PlannedPart
from lipflow_core.planning.walk import plan

__all__ = ["Blueprint", "PlannedPart", "plan"]
