"""Products of few rows with a matrix, compiled by numba.

With one or two rows a product is bound by reading the matrix, and BLAS libraries read it at half the speed that memory
has. These loops go through it once, row after row, for x Wᵀ and for g W alike. A bfloat16 matrix comes as its bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from lipflow_core.compiled.jit import kernel_reordered


@intrinsic
def _widen(typing: Any, bits: types.Integer) -> Any:
    """bfloat16's bits as float32: they are its upper half."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        from llvmlite import ir

        word = ir.IntType(32)
        shifted = builder.shl(builder.zext(arguments[0], word), ir.Constant(word, 16))
        return builder.bitcast(shifted, ir.FloatType())

    return types.float32(types.uint16), generate


@kernel_reordered
def times_transposed(weight: np.ndarray, inputs: np.ndarray, outputs: np.ndarray) -> None:
    """outputs = inputs weightᵀ: (out, in) float32, (B, in) → (B, out)."""
    for i in range(weight.shape[0]):
        for row in range(inputs.shape[0]):
            total = np.float32(0)
            for j in range(weight.shape[1]):
                total += weight[i, j] * inputs[row, j]
            outputs[row, i] = total


@kernel_reordered
def times(weight: np.ndarray, inputs: np.ndarray, outputs: np.ndarray) -> None:
    """outputs = inputs weight: (out, in) float32, (B, out) → (B, in)."""
    outputs[:] = 0
    for i in range(weight.shape[0]):
        for row in range(inputs.shape[0]):
            factor = inputs[row, i]
            for j in range(weight.shape[1]):
                outputs[row, j] += factor * weight[i, j]


@kernel_reordered
def narrow_times_transposed(weight: np.ndarray, inputs: np.ndarray, outputs: np.ndarray) -> None:
    """As `times_transposed`, of a bfloat16 matrix given as uint16."""
    for i in range(weight.shape[0]):
        for row in range(inputs.shape[0]):
            total = np.float32(0)
            for j in range(weight.shape[1]):
                total += _widen(weight[i, j]) * inputs[row, j]
            outputs[row, i] = total


@kernel_reordered
def narrow_times(weight: np.ndarray, inputs: np.ndarray, outputs: np.ndarray) -> None:
    """As `times`, of a bfloat16 matrix given as uint16."""
    outputs[:] = 0
    for i in range(weight.shape[0]):
        for row in range(inputs.shape[0]):
            factor = inputs[row, i]
            for j in range(weight.shape[1]):
                outputs[row, j] += factor * _widen(weight[i, j])
