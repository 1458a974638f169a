"""What is particular to `skeleton-name`."""

import torch

from lipflow_core.testing import Subject, inputs


def test_training_makes_the_mean_follow_the_driving_features():
    prior = Subject.of("prior", "skeleton-name").build().train()
    driving = inputs.encoding(256)
    codes = driving.features[:, : prior.given.code]
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        (-prior.log_prob(codes, driving).mean()).backward()
        optimizer.step()
    error = prior.condition(driving).mode() - codes
    assert error.square().mean() < 0.2 * codes.square().mean()
