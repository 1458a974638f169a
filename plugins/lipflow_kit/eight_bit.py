"""Pictures in 256 levels, as files and caches keep them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Round floats in [0, 1] to the nearest of 256 levels, as uint8; values outside are clipped."""
    levels = np.clip(values, 0, 1)
    levels *= 255
    return np.rint(levels, out=levels).astype(np.uint8)


def round_to_bytes(values: np.ndarray) -> np.ndarray:
    """Round floats in [0, 255] to uint8; values outside are clipped."""
    levels = np.clip(values, 0, 255)
    return np.rint(levels, out=levels).astype(np.uint8)


def from_bytes(values: np.ndarray) -> Tensor:
    """Give bytes as float32 in [0, 1], and arrays of any other dtype as they are."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return tensor.to(torch.float32).div_(255) if tensor.dtype == torch.uint8 else tensor


def quantise(values: np.ndarray) -> Tensor:
    """Replace values in [0, 1] by the nearest of 256 levels, so that frames are the same whether packed or not."""
    return from_bytes(to_bytes(values))
