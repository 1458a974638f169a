"""Which bases the class and the Config of each kind of component derive from."""

from __future__ import annotations

from collections.abc import Mapping

from lipflow_core.config import Config, MetricConfig, ObjectiveConfig, TemporalConfig
from lipflow_core.hooks import Kind
from lipflow_core.interfaces.capture import Capture
from lipflow_core.interfaces.decoder import Decoder
from lipflow_core.interfaces.encoder import ObservationEncoder
from lipflow_core.interfaces.flow import Coupling, Flow
from lipflow_core.interfaces.metric import Metric
from lipflow_core.interfaces.objective import Objective
from lipflow_core.interfaces.optimizer import Optimizer
from lipflow_core.interfaces.prior import LatentPrior
from lipflow_core.interfaces.renderer import Renderer
from lipflow_core.interfaces.temporal import TemporalPrior

CONTRACTS: Mapping[Kind, tuple[type, type[Config]]] = {
    "capture": (Capture, Config),
    "encoder": (ObservationEncoder, Config),
    "prior": (LatentPrior, Config),
    "flow": (Flow, Config),
    "coupling": (Coupling, Config),
    "decoder": (Decoder, Config),
    "renderer": (Renderer, Config),
    "objective": (Objective, ObjectiveConfig),
    "optimizer": (Optimizer, Config),
    "temporal": (TemporalPrior, TemporalConfig),
    "metric": (Metric, MetricConfig),
}
"""Kind → base of the implementation and of the Config."""
