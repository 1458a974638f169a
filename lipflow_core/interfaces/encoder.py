"""Defines the contract of observation encoders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from lipflow_core.interfaces.component import ComponentModule, check_shape
from lipflow_core.records import Encoding, Record


class ObservationEncoder(ComponentModule, ABC):
    """Maps one observation of a frame to a diagonal Gaussian over the code.

    The training-time encoder Q and the driving encoder P are both of this kind, in two slots. Implement `encode`, and
    `augment` where training should vary what the encoder sees. The Config's plan has `needs=(modality,)`, the name of
    the observation, and outputs "mean" (D,), "log_std" (D,) and "features" (h,). A `FaceState` arrives standardised by
    the capture's `Template`; all other records as captured.
    """

    @property
    def modality(self) -> str:
        """Name of the observation that the encoder takes."""
        return self.planned.needs[0]

    def forward(self, observation: Record) -> Encoding:
        """Encode a batch, and check the shapes of the result.

        Args:
            observation: Record of this modality, B samples.

        Returns:
            The encoding, with mean and log_std (B, D) and features (B, h).
        """
        encoding = self.encode(observation)
        outputs = self.planned.outputs
        check_shape(self, "mean", encoding.mean, "B D", D=outputs["mean"][0])
        check_shape(self, "log_std", encoding.log_std, "B D", D=outputs["log_std"][0])
        check_shape(self, "features", encoding.features, "B h", h=outputs["features"][0])
        return encoding

    def augment(self, observation: Record, streams: Sequence[np.random.Generator]) -> Record:
        """Augment an observation at random; training calls it for the driving encoder. By default nothing changes.

        It runs on the CPU, in threads that load batches in advance, so it must read nothing of the module but its
        options.

        Args:
            observation: Captured observation, B samples.
            streams: One random stream for each sample, from which alone the sample's augmentation is drawn.

        Returns:
            A new observation of the same type and shapes.
        """
        return observation

    @abstractmethod
    def encode(self, observation: Record) -> Encoding:
        """Encode a batch; argument and result as in `forward`, which checks the result."""
