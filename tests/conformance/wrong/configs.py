"""Wrong Configs."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import ClassVar

from cloud import CloudCaptureConfig
from lipflow_dam.config import DamDecoderConfig
from lipflow_glow.config import AdditiveConfig, AffineConfig
from lipflow_keypoint.config import KeypointEncoderConfig
from lipflow_metrics.config import GeomConfig, PsnrConfig
from lipflow_objectives.config import GeometryConfig
from lipflow_optimizers.config import LbfgsConfig
from lipflow_render.config import TorchRendererConfig
from lipflow_temporal.config import RandomWalkConfig
from pydantic import ConfigDict, field_serializer

from lipflow_core.plans import Roles

CALLS = count()


class NoSuchPresetConfig(AdditiveConfig):
    presets: ClassVar = {"large": {"width": 3}}


class RoundedConfig(AdditiveConfig):
    factor: float = 1 / 3

    @field_serializer("factor")
    def _short(self, value):
        return round(value, 2)


class TolerantConfig(AdditiveConfig):
    model_config = ConfigDict(extra="ignore")


class WhimsicalConfig(AdditiveConfig):
    def plan(self, given):
        return replace(super().plan(given), inputs={"code": (given.features,), "call": (next(CALLS),)})


class TwoModalitiesConfig(KeypointEncoderConfig):
    def plan(self, given):
        return replace(super().plan(given), needs=("keypoints", "headset"))


class ConstantVolumeConfig(AffineConfig):
    volume_preserving: ClassVar[bool] = True


class OneWayConfig(AdditiveConfig):
    def plan(self, given):
        return replace(super().plan(given), invertible=False)


class OneMoreConfig(DamDecoderConfig):
    def plan(self, given):
        planned = super().plan(given)
        return replace(planned, outputs={**planned.outputs, "vertices": (given.vertices + 1, 3)})


class AnyDeviceConfig(TorchRendererConfig):
    def plan(self, given):
        return replace(super().plan(replace(given, device="cpu")), devices=("cpu",))


class SecretiveConfig(GeometryConfig):
    def plan(self, given):
        return replace(super().plan(given), needs=("vertices",))


class GreedyConfig(GeometryConfig):
    def plan(self, given):
        planned = super().plan(given)
        return replace(planned, needs=(*planned.needs, f"render:{given.roles.training_views}"))


class NamelessConfig(GeomConfig):
    heading: ClassVar[str] = ""


class HopefulConfig(GeomConfig):
    def plan(self, given):
        planned = super().plan(given)
        return replace(planned, needs=(*planned.needs, "prior"))


class ReversedConfig(PsnrConfig):
    higher_is_better: ClassVar[bool] = False


class MisplacedConfig(CloudCaptureConfig):
    def plan(self, given):
        return replace(super().plan(given), roles=Roles(surface="skin", training_views="ring", scored_view="skin"))


class BoastfulConfig(CloudCaptureConfig):
    def plan(self, given):
        planned = super().plan(given)
        return replace(planned, outputs={**planned.outputs, "cloud.points": (8, 3)})


class ConfidentConfig(LbfgsConfig):
    def plan(self, given):
        return replace(super().plan(given), coupled_rows=True)


class DemandingConfig(RandomWalkConfig):
    def plan(self, given):
        return replace(super().plan(given), needs=("base", "vertices"))
