"""The contracts: six kinds of component and the capture that feeds them.

Each is an abstract base class that tells how to fulfil it and does the shape checks, so that implementations have none.
A component is constructed as `Implementation(config, given)` with its Config and the inputs of its kind from
`lipflow_core.plans`, and keeps what its Config planned in `self.planned`.
"""

from lipflow_core.interfaces.capture import Capture, FrameRequest, Split
from lipflow_core.interfaces.decoder import Decoder
from lipflow_core.interfaces.encoder import ObservationEncoder
from lipflow_core.interfaces.flow import ConditionedFlow, Coupling, Flow
from lipflow_core.interfaces.metric import Metric
from lipflow_core.interfaces.objective import Objective
from lipflow_core.interfaces.prior import ConditionedPrior, LatentPrior
from lipflow_core.interfaces.renderer import Renderer
from lipflow_core.interfaces.state import State

__all__ = [
    "Capture",
    "ConditionedFlow",
    "ConditionedPrior",
    "Coupling",
    "Decoder",
    "Flow",
    "FrameRequest",
    "LatentPrior",
    "Metric",
    "Objective",
    "ObservationEncoder",
    "Renderer",
    "Split",
    "State",
]
