"""What is particular to `skeleton-name`."""

import torch

from lipflow_core.testing import Subject


def test_training_moves_the_prior_onto_the_posteriors():
    prior = Subject.of("prior", "skeleton-name").build().train()
    codes = 2.0 + 0.5 * torch.randn(512, prior.given.code, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        (-prior.log_prob(codes, None).mean()).backward()
        optimizer.step()
    torch.testing.assert_close(prior.condition(None).mode()[0], codes.mean(0), rtol=0, atol=0.1)
