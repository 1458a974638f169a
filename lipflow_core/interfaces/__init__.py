"""Defines the contracts: an abstract base class for each kind of component.

Each tells what to implement and checks shapes, so that implementations need no checks. A component is constructed as
`Implementation(config, given)` with its Config and the inputs of its kind from `lipflow_core.plans`; `self.planned`
holds the plan that its Config made.
"""

from lipflow_core.interfaces.capture import Capture, FrameRequest, Split
from lipflow_core.interfaces.component import Foldable
from lipflow_core.interfaces.decoder import Decoder
from lipflow_core.interfaces.encoder import ObservationEncoder
from lipflow_core.interfaces.flow import ConditionedFlow, Coupling, Flow
from lipflow_core.interfaces.metric import Metric
from lipflow_core.interfaces.objective import Objective
from lipflow_core.interfaces.optimizer import LossAtPoint, Optimizer
from lipflow_core.interfaces.prior import ConditionedPrior, LatentPrior
from lipflow_core.interfaces.renderer import Renderer
from lipflow_core.interfaces.state import State
from lipflow_core.interfaces.temporal import TemporalPrior

__all__ = [
    "Capture",
    "ConditionedFlow",
    "ConditionedPrior",
    "Coupling",
    "Decoder",
    "Flow",
    "Foldable",
    "FrameRequest",
    "LatentPrior",
    "LossAtPoint",
    "Metric",
    "Objective",
    "ObservationEncoder",
    "Optimizer",
    "Renderer",
    "Split",
    "State",
    "TemporalPrior",
]
