"""Test a mean by flipping signs: exact for few subjects, whatever the shape of their distribution."""

from __future__ import annotations

import numpy as np

_ENUMERATED = 16
"""Number of subjects up to which all patterns of signs are tried; of more, 2^16 seeded draws are."""


def sign_flip(values: np.ndarray) -> np.ndarray:
    """Test whether independent values are symmetric about 0, two-sided.

    If they are, each sign is as likely as its opposite, and all 2^S patterns of signs are equally likely. p is the
    share of patterns whose sum is at least as far from 0 as the sum of the values (Fisher 1935, *The Design of
    Experiments*, §21). It is never below 2^(1 − S).

    Args:
        values: (…, S) differences of S subjects.

    Returns:
        (…) p-values; 1 without subjects.
    """
    subjects = values.shape[-1]
    if subjects <= _ENUMERATED:
        patterns = np.arange(2**subjects)[:, None] >> np.arange(subjects) & 1
    else:
        # The first pattern is that of the values themselves, which keeps p above 0 and the test valid.
        patterns = np.random.default_rng(0).integers(0, 2, (2**_ENUMERATED, subjects))
        patterns[0] = 1
    sums = np.abs(values @ (2.0 * patterns.T - 1))
    seen = np.abs(values.sum(axis=-1, keepdims=True))
    # Sums of the same terms in another order differ by rounding.
    return (sums >= seen - 1e-9 * np.abs(values).sum(axis=-1, keepdims=True)).mean(axis=-1)
