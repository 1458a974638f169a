"""A Config that imports torch."""

import torch
from lipflow_glow.config import AdditiveConfig


class HeavyConfig(AdditiveConfig):
    """Options."""

    half: float = torch.finfo(torch.float16).max
