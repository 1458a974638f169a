"""A coupling that imports what is no part of the plugin API, within a function."""

from __future__ import annotations

from lipflow_glow.couplings import AdditiveCoupling


class Trespassing(AdditiveCoupling):
    def transform(self, code, context):
        self.offered()
        return super().transform(code, context)

    @staticmethod
    def offered():
        from lipflow_core.registry import default_registry

        return default_registry().names("coupling")
