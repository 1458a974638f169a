"""Wrong captures."""

from __future__ import annotations

import uuid
from dataclasses import replace

import numpy as np
import torch
from cloud_parts import CloudCapture, CloudSplit

from lipflow_core.interfaces import FrameRequest


class Shared(CloudCapture):
    def split(self, name):
        super().split(name)
        return CloudSplit("train", self.config.frames)


class AnySplit(CloudCapture):
    def split(self, name):
        return super().split(name if name == "held-out" else "train")


class _Changed(CloudCapture):
    """Splits of the class `changed`."""

    changed: type[CloudSplit]

    def split(self, name):
        super().split(name)
        return self.changed(name, self.config.frames)


class Bright(_Changed):
    class changed(CloudSplit):
        def load(self, request):
            frame = super().load(request)
            front = replace(frame["front"], images=2 * frame["front"].images)
            return replace(frame, observations={**frame.observations, "front": front})


class Noisy(_Changed):
    class changed(CloudSplit):
        def load(self, request):
            frame = super().load(request)
            cloud = frame["cloud"]
            noisy = replace(cloud, points=cloud.points + torch.randn_like(cloud.points))
            return replace(frame, observations={**frame.observations, "cloud": noisy})


class Sorted(_Changed):
    class changed(CloudSplit):
        def load(self, request):
            return super().load(FrameRequest(np.sort(request.indices), request.observations, request.cameras))


class WrongScale(CloudCapture):
    def template(self):
        return replace(super().template(), vertices_scale=torch.tensor(0.01))


class Nameless(CloudCapture):
    @property
    def identity(self):
        return uuid.uuid4().hex
