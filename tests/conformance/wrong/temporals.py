"""Wrong temporal priors."""

from __future__ import annotations

import torch
from lipflow_temporal.random_walk import RandomWalk


class NeverEmpty(RandomWalk):
    def energy(self, path, follows):
        if len(path) == 0:
            raise ValueError("no frames")
        return super().energy(path, follows)


class Borderless(RandomWalk):
    """Walks on from the last frame of a run to the first of the next."""

    def energy(self, path, follows):
        return super().energy(path, torch.arange(len(path)) > 0)


class Zeroing(RandomWalk):
    """Leaves out the steps across borders by a factor of zero."""

    def energy(self, path, follows):
        squared = ((path[1:] - path[:-1]) / self.config.step).square().mean(dim=1) * follows[1:]
        pad = squared.new_zeros(1)
        return 0.25 * (torch.cat([pad, squared]) + torch.cat([squared, pad]))[: len(path)]


class Restless(RandomWalk):
    def energy(self, path, follows):
        return -super().energy(path, follows)


class Single(RandomWalk):
    """Draws each frame to zero by itself."""

    def energy(self, path, follows):
        return path.square().mean(dim=1)


class HalfGradient(RandomWalk):
    """Takes each frame's neighbours for constants."""

    def energy(self, path, follows):
        step = (path[1:] - path[:-1].detach()) / self.config.step
        squared = torch.where(follows[1:, None], step, 0).square().mean(dim=1)
        return torch.cat([squared.new_zeros(1), 0.5 * squared])[: len(path)]


class Double(RandomWalk):
    def energy(self, path, follows):
        return super().energy(path, follows).double()


class Global(RandomWalk):
    def energy(self, path, follows):
        torch.rand(1)
        return super().energy(path, follows)


class InPlace(RandomWalk):
    def energy(self, path, follows):
        energy = super().energy(path, follows)
        with torch.no_grad():
            path -= path.mean(dim=0)
        return energy


class Weighted(RandomWalk):
    def energy(self, path, follows):
        return self.config.weight * super().energy(path, follows)
