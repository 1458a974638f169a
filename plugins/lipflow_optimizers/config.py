"""Options of the optimizers. Imports no torch."""

from __future__ import annotations

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from lipflow_core.config import Config
from lipflow_core.plans import OptimizerInputs, Plan


class AdamConfig(Config):
    """Options of optimizer `adam`."""

    learning_rate: PositiveFloat = 0.1
    """Learning rate of the code."""
    pose_learning_rate: PositiveFloat = 0.01
    """Learning rate of the six pose parameters, in units of 1 radian and of `fitting.pose.translation_scale`."""

    def plan(self, given: OptimizerInputs) -> Plan:
        """Plan an optimizer that needs gradients."""
        size = given.code + given.pose
        return Plan(inputs={"parameters": (size,)}, outputs={"parameters": (size,)}, coupled_rows=True)


class LbfgsConfig(Config):
    """Options of optimizer `lbfgs`."""

    history: PositiveInt = 10
    """Number of past steps that the curvature is estimated from."""
    first_step: PositiveFloat = 1.0
    """Length of the first step, in units of the code. Later lengths follow from the curvature."""
    pose_scale: PositiveFloat = 0.003
    """Change of a pose parameter that counts as much as a change of the code by 1, in units of 1 radian and of
    `fitting.pose.translation_scale`."""
    tolerance: NonNegativeFloat = 1e-4
    """Smallest decrease of the loss, relative to the loss, that is worth a step: a frame stops when its model of the
    loss promises less."""

    def plan(self, given: OptimizerInputs) -> Plan:
        """Plan an optimizer that needs gradients."""
        return Plan(
            inputs={"parameters": (given.code + given.pose,)}, outputs={"parameters": (given.code + given.pose,)}
        )


class LevenbergMarquardtConfig(Config):
    """Options of optimizer `levenberg-marquardt`."""

    damping: PositiveFloat = 1e-2
    """Damping of the first step, relative to the diagonal of the Gauss-Newton matrix."""
    refresh: PositiveInt = 50
    """Number of steps after which the Gauss-Newton matrix is computed anew; 1 is the classical method. In the steps
    between, each new gradient corrects the matrix, which costs nothing."""
    tolerance: NonNegativeFloat = 1e-4
    """Smallest decrease of the loss, relative to the loss, that is worth a step: a frame stops when its model of the
    loss promises less."""

    def plan(self, given: OptimizerInputs) -> Plan:
        """Plan an optimizer that needs gradients and Gauss-Newton matrices."""
        size = given.code + given.pose
        return Plan(inputs={"parameters": (size,)}, outputs={"parameters": (size,)}, needs=("curvature",))
