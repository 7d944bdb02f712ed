"""Real-time chunking: weights, what is fixed, and the sampler's table for an estimate that is moved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dp_ros.data import Chunk, Goal
from dp_ros.diffusion.coefficients import coefficients_for
from dp_ros.diffusion.samplers import SamplerSettings, SamplerState, sample
from dp_ros.diffusion.schedule import ScheduleSpec
from dp_ros.errors import BundleError, ConfigError, DataError
from dp_ros.policy.backends.sessions import open_backend
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.continuity import (
    Continuation,
    Overlap,
    check_continuity,
    check_start,
    ensembled,
    overlap_with,
    soft_weights,
)
from dp_ros.policy.policy import DiffusionPolicy
from test.policy.test_policy import DT, window
from test.tiny_bundle import write_tiny_bundle

JOINTS = ('pusher_x', 'pusher_y')


def chunk(stamp, actions):
    return Chunk(stamp=stamp, control_dt=DT, joints=JOINTS, actions=np.asarray(actions, dtype=float))


def test_weights_are_those_of_the_paper():
    w = soft_weights(3, 8, 16)
    np.testing.assert_array_equal(w[:3], 1.0)
    np.testing.assert_array_equal(w[8:], 0.0)
    for i in range(3, 8):
        c = (8 - i) / (8 - 3 + 1)
        assert w[i] == pytest.approx(c * (np.e**c - 1) / (np.e - 1))
    assert (np.diff(w[2:9]) < 0).all()


@pytest.mark.parametrize('wrong', [(-1, 8), (3, 17), (17, 8)])
def test_weights_beyond_the_chunk_are_refused(wrong):
    with pytest.raises(ConfigError, match=r'overlap: got delay .* allowed 0 to 16'):
        soft_weights(wrong[0], wrong[1], 16)


def test_steps_correspond_by_their_time():
    previous = chunk(10 * DT, np.arange(32).reshape(16, 2))
    overlap = overlap_with(previous, 18 * DT, delay=2)
    assert overlap is not None
    np.testing.assert_array_equal(overlap.actions[:8], previous.actions[8:])
    np.testing.assert_array_equal(overlap.weights, soft_weights(2, 8, 16))
    assert overlap_with(previous, 26 * DT, delay=2) is None  # all executed
    assert overlap_with(previous, 9 * DT, delay=2) is None  # from the future
    assert overlap_with(previous, 18 * DT + 1, delay=2) is None  # between the ticks


@pytest.mark.parametrize('sampler', ['ddim', 'ddpm', 'dpmsolver++', 'unipc'])
@pytest.mark.parametrize('sampling_steps', [2, 10])
def test_fixed_steps_come_out_as_they_were_and_free_ones_close_to_the_data(original, sampler, sampling_steps):
    bundle = load_bundle(original)
    settings = SamplerSettings(sampler=sampler, sampling_steps=sampling_steps)
    policy = DiffusionPolicy(bundle, open_backend(bundle), settings)
    now = window()
    previous = chunk(now.stamp - 8 * DT, np.linspace([0.1, 0.4], [0.2, 0.3], 16))
    overlap = overlap_with(previous, now.stamp, delay=3)
    made = policy.chunk(now, np.random.default_rng(0), overlap)
    np.testing.assert_allclose(made.actions[:3], previous.actions[8:11], atol=1e-5)
    unbound = Overlap(actions=overlap.actions, weights=np.zeros(16))
    free = policy.chunk(now, np.random.default_rng(0), unbound)
    assert np.abs(made.actions[3] - previous.actions[11]).sum() < np.abs(free.actions[3] - previous.actions[11]).sum()
    assert np.abs(made.actions[:3] - free.actions[:3]).max() > 1e-3


def test_without_weights_steering_is_ddim_whose_noise_follows_from_the_clipped_estimate():
    diffusers = pytest.importorskip('diffusers', reason='diffusers is the oracle')
    torch = pytest.importorskip('torch', reason='torch is needed by diffusers')
    oracle = diffusers.DDIMScheduler(
        num_train_timesteps=100, beta_schedule='squaredcos_cap_v2', timestep_spacing='trailing'
    )
    oracle.set_timesteps(10)
    table = coefficients_for(ScheduleSpec(), SamplerSettings(), steered=True)
    walk = SamplerState(table, np.random.default_rng(0), lambda x_0: x_0)
    ours = theirs = np.random.default_rng(0).standard_normal((2, 16, 3), dtype=np.float32)
    for k in table.levels.tolist():
        ours = walk.step(ours, np.tanh(ours))
        theirs = oracle.step(
            torch.from_numpy(np.tanh(theirs)), k, torch.from_numpy(theirs), use_clipped_model_output=True
        ).prev_sample.numpy()
        np.testing.assert_allclose(ours, theirs, atol=2e-3)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_table_that_was_not_made_for_it_is_not_steered():
    table = coefficients_for(ScheduleSpec(), SamplerSettings())
    with pytest.raises(ConfigError, match='steer: got coefficients made without steered'):
        sample(table, lambda x, k: x, np.zeros(3), np.random.default_rng(0), steer=lambda x_0: x_0)


@pytest.mark.parametrize('wrong', [{'weights': np.full(16, 1.5)}, {'actions': np.full((16, 2), np.nan)}])
def test_an_overlap_that_is_none_is_refused(wrong):
    with pytest.raises(DataError, match='overlap'):
        Overlap(**({'actions': np.zeros((16, 2)), 'weights': np.zeros(16)} | wrong))


def test_ensembling_averages_what_chunks_say_of_the_same_time():
    old, new = chunk(10 * DT, np.zeros((16, 2))), chunk(14 * DT, np.ones((16, 2)))
    mixed = ensembled([old, new], decay=0.0)
    assert mixed.stamp == new.stamp
    np.testing.assert_allclose(mixed.actions[:12], 0.5)
    np.testing.assert_allclose(mixed.actions[12:], 1.0)
    older_first = ensembled([old, new], decay=1.0)
    assert older_first.actions[0, 0] < 0.5


def test_ensembling_takes_chunks_of_other_lengths():
    long, short = chunk(10 * DT, np.zeros((16, 2))), chunk(12 * DT, np.ones((8, 2)))
    np.testing.assert_allclose(ensembled([long, short], decay=0.0).actions, np.full((8, 2), 0.5))
    mixed = ensembled([short, chunk(14 * DT, np.zeros((16, 2)))], decay=0.0).actions
    np.testing.assert_allclose(mixed[:6], 0.5)
    np.testing.assert_allclose(mixed[6:], 0.0)


def test_the_next_delay_is_taken_for_the_longest_of_the_last_ten():
    run = Continuation()
    assert run.overlap(10 * DT, 'rtc') is None and run.delay(DT) == 1
    for number, delay in enumerate([250_000_000, *[40_000_000] * 9]):
        taken = run.take(chunk(number * DT, np.full((16, 2), number)), delay, 'rtc')
        np.testing.assert_array_equal(taken.actions, number)
    assert run.delay(DT) == 3
    overlap = run.overlap(13 * DT, 'rtc')  # four steps after the last chunk's stamp
    np.testing.assert_array_equal(overlap.weights, soft_weights(3, 12, 16))
    given = run.overlap(13 * DT, 'prefix')
    np.testing.assert_array_equal(given.weights, [1.0] * 3 + [0.0] * 13)
    np.testing.assert_array_equal(given.actions, overlap.actions)
    assert run.overlap(13 * DT, 'none') is run.overlap(13 * DT, 'ensemble') is None
    run.take(chunk(10 * DT, np.zeros((16, 2))), 40_000_000, 'rtc')
    assert run.delay(DT) == 1


def test_no_fewer_steps_are_fixed_than_are_asked_for():
    run = Continuation()
    assert run.delay(DT, least=3) == 3 and run.delay(DT) == 1
    run.take(chunk(0, np.zeros((16, 2))), 120_000_000, 'rtc')
    assert run.delay(DT, least=1) == 2
    np.testing.assert_array_equal(run.overlap(8 * DT, 'rtc', least=5).weights, soft_weights(5, 8, 16))


def test_a_step_that_is_due_the_moment_the_chunk_is_out_was_executed_before():
    run = Continuation()
    run.take(chunk(0, np.zeros((16, 2))), 2 * DT, 'rtc')
    assert run.delay(DT) == 3
    run.take(chunk(8 * DT, np.zeros((16, 2))), 2 * DT - 1, 'rtc')
    assert run.delay(DT) == 3, 'the longest of the last ten'


def test_an_ensemble_averages_what_is_executed_and_not_what_was_averaged():
    run = Continuation()
    run.take(chunk(0, np.zeros((16, 2))), 0, 'ensemble')
    first = run.take(chunk(DT, np.ones((16, 2))), 0, 'ensemble')
    second = run.take(chunk(2 * DT, np.ones((16, 2))), 0, 'ensemble')
    assert 0.4 < first.actions[0, 0] < 0.6
    assert 0.6 < second.actions[0, 0] < 0.7


def test_regression_has_no_sampler_to_chunk_in():
    check_continuity('ensemble', ScheduleSpec(name='none', diffusion_steps=1, prediction_type='sample'))
    with pytest.raises(ConfigError, match="continuity: got 'rtc' for a bundle by regression"):
        check_continuity('rtc', ScheduleSpec(name='none', diffusion_steps=1, prediction_type='sample'))


def test_a_chunk_may_start_from_one_that_says_enough_of_it_and_had_the_same_goal():
    run = Continuation()
    assert run.start(0) is None
    actions = np.arange(32.0).reshape(16, 2)
    run.take(chunk(DT, actions), 0, 'none')
    start = run.start(9 * DT)
    assert start is not None
    np.testing.assert_array_equal(start[:8], actions[8:])
    np.testing.assert_array_equal(start[8:], np.repeat(actions[-1:], 8, axis=0))
    assert run.start(13 * DT) is not None
    assert run.start(14 * DT) is None, 'less than a quarter of the new chunk'
    assert run.start(9 * DT + 1) is None
    assert run.start(9 * DT, Goal(instruction='left')) is None, 'the last chunk was not asked for that'
    run.take(chunk(9 * DT, actions), 0, 'none', Goal(instruction='left', streams={'goal': np.ones(2)}))
    assert run.start(17 * DT, Goal(instruction='left', streams={'goal': np.ones(2)})) is not None
    for other in (Goal(instruction='left', streams={'goal': np.zeros(2)}), Goal(instruction='left'), Goal()):
        assert run.start(17 * DT, other) is None


def test_with_warm_steps_a_chunk_is_near_the_last_one_and_without_a_last_one_as_always(tmp_path):
    bundle = write_tiny_bundle(tmp_path / 'tiny')
    cold = DiffusionPolicy(load_bundle(bundle), open_backend(load_bundle(bundle)))
    warm = cold.with_settings(warm_steps=1)
    start = cold.bundle.normalizer.denormalize('action', np.full((16, 2), 0.3))
    assert (warm.calls(), warm.calls(start), cold.calls(start)) == (10, 1, 10)

    def act(policy, seed, start=None):
        return policy.chunk(window(), np.random.default_rng(seed), start=start).actions

    np.testing.assert_array_equal(act(warm, 0), act(cold, 0))
    np.testing.assert_array_equal(act(cold, 0, start), act(cold, 0))
    several = [np.array([act(p, seed, start) for seed in range(8)]) for p in (warm, cold)]
    spread = [float(s.std(axis=0).mean()) for s in several]
    assert spread[0] < 0.5 * spread[1]
    with pytest.raises(DataError, match='start: got shape'):
        act(warm, 0, start[:3])
    with pytest.raises(DataError, match='start: got nan'):
        act(warm, 0, np.full((16, 2), np.nan))


def test_warm_steps_that_no_chunk_would_take_are_refused():
    check_start(2, 12, 16)
    check_start(0, 16, 16)
    with pytest.raises(ConfigError, match='warm_steps 2 with exec_horizon 13: allowed with exec_horizon up to 12'):
        check_start(2, 13, 16)


def test_a_start_is_clipped_like_every_estimate(tmp_path):
    bundle = load_bundle(write_tiny_bundle(tmp_path / 'tiny'))
    policy = DiffusionPolicy(bundle, open_backend(bundle)).with_settings(warm_steps=1)
    low, high = (bundle.normalizer.denormalize('action', np.full((16, 2), v)) for v in (1.0, 40.0))
    near, far = (policy.chunk(window(), np.random.default_rng(0), start=s).actions for s in (low, high))
    np.testing.assert_allclose(near, far, atol=1e-9)


def test_a_bundle_does_not_choose_warm_steps(tmp_path):
    with pytest.raises(BundleError, match='defaults warm_steps: got 4, allowed 0'):
        load_bundle(write_tiny_bundle(tmp_path / 'tiny', defaults=SamplerSettings(warm_steps=4)))


def test_of_several_samples_the_nearest_to_the_last_chunk_is_taken(tmp_path):
    bundle = load_bundle(write_tiny_bundle(tmp_path / 'tiny'))
    one = DiffusionPolicy(bundle, open_backend(bundle))
    five = one.with_settings(samples=5)
    noise = np.random.default_rng(3).standard_normal((5, 16, 2), dtype=np.float32)

    class Drawn:
        """Gives each sample its noise, in a batch or one by one."""

        def __init__(self, noise):
            self.noise = noise

        def standard_normal(self, shape, dtype):
            assert shape == self.noise.shape
            return self.noise

    def act(policy, noise, start=None):
        return policy.chunk(window(), Drawn(noise), start=start).actions

    alone = [act(one, noise[i : i + 1]) for i in range(5)]
    np.testing.assert_allclose(act(five, noise), alone[0], atol=1e-6)
    for i in range(5):
        np.testing.assert_allclose(act(five, noise, alone[i]), alone[i], atol=1e-6)
        # What comes late counts little: the beginnings decide.
        other = alone[i].copy()
        other[8:] = alone[(i + 1) % 5][8:]
        np.testing.assert_allclose(act(five, noise, other), alone[i], atol=1e-6)
    assert five.chunk(window(), Drawn(noise)).alternatives == ()
    four = five.with_settings(alternatives=3)
    drawn = four.chunk(window(), Drawn(noise))
    for number in range(4):
        np.testing.assert_allclose(drawn.choice(number).actions, alone[number], atol=1e-6)
    near = four.chunk(window(), Drawn(noise), start=alone[3])
    assert near.actions.tobytes() == act(five, noise, alone[3]).tobytes(), 'what is taken is the same with alternatives'
    fade = 0.5 ** np.arange(16)
    spans = [bundle.normalizer.normalize('action', actions) for actions in alone]
    nearest = np.argsort([float(((one - spans[3]) ** 2).sum(axis=1) @ fade) for one in spans])
    for number in range(4):
        np.testing.assert_allclose(near.choice(number).actions, alone[nearest[number]], atol=1e-6)
    with pytest.raises(ConfigError, match='alternatives with samples 5: got 5, allowed 0 to 4'):
        five.with_settings(alternatives=5)
    with pytest.raises(ConfigError, match='alternatives with samples 64: got 8, allowed 0 to 7'):
        five.with_settings(samples=64, alternatives=8)
    with pytest.raises(ConfigError, match=r"samples for schedule 'squaredcos_cap_v2': got 65, allowed 1 to 64"):
        one.with_settings(samples=65)


def next_of(run):
    """Return the first action that the next chunk may start from, and that it is drawn to."""
    start, overlap = run.start(8 * DT), run.overlap(8 * DT, 'rtc')
    assert start is not None and overlap is not None
    return start[0, 0], overlap.actions[0, 0]


def test_the_next_chunk_goes_on_from_the_alternative_that_is_executed():
    first, second, third = (chunk(0, np.full((16, 2), value)) for value in (0.0, 1.0, 2.0))
    run = Continuation()
    run.taken(0, 1)  # of no chunk
    run.take(replace(first, alternatives=(second, third)), 0, 'rtc')
    run.taken(8 * DT, 2)  # of another chunk
    run.taken(0, 3)  # which it does not have
    run.taken(0, 0)
    assert next_of(run) == (0.0, 0.0)
    run.taken(0, 2)
    assert next_of(run) == (2.0, 2.0)


def test_samples_are_drawn_to_the_last_chunk_like_one(tmp_path):
    bundle = load_bundle(write_tiny_bundle(tmp_path / 'tiny'))
    policy = DiffusionPolicy(bundle, open_backend(bundle))
    previous = chunk(0, policy.bundle.normalizer.denormalize('action', np.full((16, 2), 0.2)))
    overlap = overlap_with(previous, 8 * DT, delay=2)
    drawn = policy.with_settings(samples=3).chunk(window(), np.random.default_rng(0), overlap, start=overlap.actions)
    np.testing.assert_allclose(drawn.actions[:2], previous.actions[8:10], atol=1e-6)
