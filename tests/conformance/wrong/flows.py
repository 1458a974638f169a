"""Wrong flows."""

from __future__ import annotations

import torch
from lipflow_glow.flow import GlowFlow

from lipflow_core.interfaces import ConditionedFlow


class OtherLogDet(GlowFlow):
    class fixed(ConditionedFlow):
        def forward(self, code):
            there, log_det = super().forward(code)
            return there, log_det + 0.01

    def condition(self, context):
        return self.fixed(self, context)


class AllRows(GlowFlow):
    class fixed(ConditionedFlow):
        def forward(self, code):
            # As many contexts as there are codes, whichever rows are meant.
            repeats = -(-max(len(code), 1) // len(self.context))
            return self.flow(code, self.context.repeat(repeats, 1)[: len(code)])

        def rows(self, index):
            return self

    def condition(self, context):
        return self.fixed(self, context)


class Forgetful(GlowFlow):
    initialized = False


class Hasty(GlowFlow):
    """An inverse takes the flow for initialized from then on."""

    def invert(self, code, context):
        for layer in self._transforms[0::3]:
            layer.initialized.fill_(True)
        return super().invert(code, context)


class Careless(GlowFlow):
    def check_inputs(self, code, context):
        pass

    def transform(self, code, context):
        if context is None and self.given.context:
            context = torch.zeros(len(code), self.given.context)
        return super().transform(code, context)
