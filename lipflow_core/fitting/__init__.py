"""Fitting latent codes to poor observations: many frames at once, each a row of its own.

Networks are frozen; only each row's code, and its headset pose if asked for, carries gradients. Rows never see each
other: every row has its own loss, learning rate, weights, stopping and best code.
"""

from lipflow_core.fitting.frames import choose, fit, observations_of
from lipflow_core.fitting.grid import GridChoice
from lipflow_core.fitting.problem import Problem
from lipflow_core.fitting.result import FittingResult

__all__ = ["FittingResult", "GridChoice", "Problem", "choose", "fit", "observations_of"]
