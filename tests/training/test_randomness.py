"""What a step sees is a function of the seed and of where it stands."""

import numpy as np

from lipflow_core.training.randomness import Purpose, Sampler, held_out_draw, latent_noise, stream


def sampler(**changes) -> Sampler:
    return Sampler(**{"seed": 3, "stage": 0, "frames": 10, "cameras": 5, "views": 2, "batch": 4, **changes})


def test_each_epoch_sees_each_frame_once():
    steps = [sampler().draw(step) for step in range(5)]
    indices = np.concatenate([draw.indices for draw in steps])
    epochs = np.concatenate([draw.epochs for draw in steps])
    for epoch in (0, 1):
        assert sorted(indices[epochs == epoch]) == list(range(10))
    assert indices[:10].tolist() != indices[10:].tolist()


def test_ranks_share_what_one_process_of_the_same_total_would_take():
    whole = sampler(batch=6).draw(4)
    shares = [sampler(batch=2, world=3).draw(4, rank) for rank in range(3)]
    assert np.concatenate([share.indices for share in shares]).tolist() == whole.indices.tolist()
    assert np.concatenate([share.cameras for share in shares]).tolist() == whole.cameras.tolist()
    noise = [latent_noise(3, 0, 4, rank, 2, 8) for rank in range(3)]
    assert np.array_equal(np.concatenate(noise), latent_noise(3, 0, 4, 0, 6, 8))


def test_a_frame_gets_other_cameras_in_another_epoch():
    first, second = (sampler(frames=1, batch=1, cameras=40).draw(step).cameras for step in (0, 1))
    assert first.tolist() != second.tolist()
    assert len(set(first[0])) == 2


def test_stages_seeds_and_purposes_draw_differently():
    draws = [stream(seed, purpose, stage).random() for seed in (0, 1) for purpose in Purpose for stage in (0, 1)]
    assert len(set(draws)) == len(draws)
    assert sampler().draw(0).indices.tolist() != sampler(stage=1).draw(0).indices.tolist()


def test_held_out_frames_are_spread_and_fixed():
    draw = held_out_draw(seed=0, frames=100, count=5, cameras=4, views=1)
    assert draw.indices.tolist() == [0, 25, 50, 74, 99]
    assert held_out_draw(seed=0, frames=100, count=5, cameras=4, views=1).cameras.tolist() == draw.cameras.tolist()
    assert len(held_out_draw(seed=0, frames=3, count=5, cameras=4, views=0).indices) == 3
