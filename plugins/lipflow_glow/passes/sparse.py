"""Multiplies a few columns by a matrix in compiled kernels that skip the weights of inactive ReLU units.

For a few columns the product is memory-bound: it takes as long as reading all weights. Row k of the weights holds the
contribution of unit k. These kernels read it only if the unit is active in one of the columns. They read four rows
together and use each for two columns, so that loads and arithmetic overlap.
"""

from __future__ import annotations

import numpy as np
import torch
from lipflow_kit.compiled.jit import kernel_reordered, part
from lipflow_kit.compiled.lanes import total
from lipflow_kit.compiled.memory import fetch, load, store
from torch import Tensor

ROWS = 4
"""Rows of weights that are read together."""
LANES = 16
"""Numbers in one vector operation."""


class SparseProduct:
    """Multiplies a matrix by columns that come from a ReLU.

    Args:
        weights: (in, out), float32 or float64, on the CPU.
    """

    def __init__(self, weights: Tensor):
        self.inputs, self.outputs = weights.shape
        rows, lanes = -self.inputs % ROWS, -self.outputs % LANES
        # Padded with zeros, so that the kernels' loops have no remainder.
        padded = torch.nn.functional.pad(weights, (0, lanes, 0, rows)) if rows or lanes else weights
        self.weights = padded.numpy()

    def forward(self, columns: Tensor) -> Tensor:
        """Compute Wᵀ x for columns x: (in, B) → (out, B)."""
        made = np.zeros((columns.shape[1], self.weights.shape[1]), dtype=self.weights.dtype)
        _combine_rows(self.weights, self._padded(columns, 0), made)
        return torch.from_numpy(made).t()[: self.outputs]

    def back(self, gradient: Tensor, columns: Tensor) -> Tensor:
        """Compute W g for g (out, B) where the columns (in, B) are not zero; the result is (in, B)."""
        made = np.zeros((self.weights.shape[0], columns.shape[1]), dtype=self.weights.dtype)
        _dot_rows(self.weights, self._padded(gradient.t(), 1), self._padded(columns, 0), made)
        return torch.from_numpy(made)[: self.inputs]

    def _padded(self, array: Tensor, axis: int) -> np.ndarray:
        missing = self.weights.shape[axis] - array.shape[axis]
        if not missing:
            return array.contiguous().numpy()
        return torch.nn.functional.pad(array, (0, missing) if axis else (0, 0, 0, missing)).numpy()


@kernel_reordered
def _combine_rows(weights, inputs, sums):
    """Compute sums[b] += Σ_k inputs[k, b] · weights[k] for inputs (K, B), weights (K, N) and sums (B, N)."""
    width, columns = weights.shape[1], inputs.shape[1]
    active, count = _active_rows(inputs)
    for i in range(0, count, ROWS):
        p, q, r, s = active[i], active[i + 1], active[i + 2], active[i + 3]
        for b in range(0, columns, 2):
            c = min(b + 1, columns - 1)
            for n in range(0, width, LANES):
                if b == 0:
                    for j in range(i + ROWS, i + 2 * ROWS):
                        fetch(weights, active[j] * width + n)
                w, x = load(weights, p * width + n, LANES), load(weights, q * width + n, LANES)
                y, z = load(weights, r * width + n, LANES), load(weights, s * width + n, LANES)
                more = w * inputs[p, b] + x * inputs[q, b] + (y * inputs[r, b] + z * inputs[s, b])
                store(sums, b * width + n, load(sums, b * width + n, LANES) + more)
                if c > b:
                    more = w * inputs[p, c] + x * inputs[q, c] + (y * inputs[r, c] + z * inputs[s, c])
                    store(sums, c * width + n, load(sums, c * width + n, LANES) + more)


@kernel_reordered
def _dot_rows(weights, gradients, inputs, dots):
    """Compute dots[k, b] = weights[k] · gradients[b] where unit k is active in any column of `inputs` (K, B)."""
    width, columns = weights.shape[1], inputs.shape[1]
    active, count = _active_rows(inputs)
    for i in range(0, count, ROWS):
        p, q, r, s = active[i], active[i + 1], active[i + 2], active[i + 3]
        for b in range(0, columns, 2):
            c = min(b + 1, columns - 1)
            zero = load(weights, 0, LANES) * weights.dtype.type(0)
            wb = xb = yb = zb = wc = xc = yc = zc = zero
            for n in range(0, width, LANES):
                if b == 0:
                    for j in range(i + ROWS, i + 2 * ROWS):
                        fetch(weights, active[j] * width + n)
                w, x = load(weights, p * width + n, LANES), load(weights, q * width + n, LANES)
                y, z = load(weights, r * width + n, LANES), load(weights, s * width + n, LANES)
                g = load(gradients, b * width + n, LANES)
                wb, xb, yb, zb = wb + w * g, xb + x * g, yb + y * g, zb + z * g
                if c > b:
                    g = load(gradients, c * width + n, LANES)
                    wc, xc, yc, zc = wc + w * g, xc + x * g, yc + y * g, zc + z * g
            dots[p, b], dots[q, b], dots[r, b], dots[s, b] = total(wb), total(xb), total(yb), total(zb)
            if c > b:
                dots[p, c], dots[q, c], dots[r, c], dots[s, c] = total(wc), total(xc), total(yc), total(zc)


@part
def _active_rows(inputs):
    """List the rows with a number other than zero, and count them. An inactive row pads the list to full `ROWS`."""
    active = np.empty(inputs.shape[0] + 2 * ROWS, dtype=np.intp)
    count, idle = 0, 0
    for k in range(inputs.shape[0]):
        is_active = False
        for b in range(inputs.shape[1]):
            is_active |= inputs[k, b] != 0
        if is_active:
            active[count] = k
            count += 1
        else:
            idle = k
    for i in range(2 * ROWS):
        active[count + i] = idle
    return active, count
