"""Fits latent codes to poor observations: many frames at once, each in a row of its own.

Networks are frozen; only each row's code, and the pose of the driving device if requested, carries gradients. Rows are
independent: every row has its own loss, learning rate, weights, stopping and best code. With a temporal prior, runs are
independent: the rows of consecutive frames of a segment are fitted together.
"""

from lipflow_core.fitting.fit import choose, first_codes, fit, observations_of
from lipflow_core.fitting.problem import Problem
from lipflow_core.fitting.result import FittingResult, GridChoice

__all__ = ["FittingResult", "GridChoice", "Problem", "choose", "first_codes", "fit", "observations_of"]
