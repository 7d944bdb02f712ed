"""The ladder on times that are handed in. Thresholds: 1.0, 1.3, 2.0 and 5.0 s; of joint states 0.25 and 0.5 s."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp_ros.errors import ConfigError
from dp_ros.motion.safety.safety_states import (
    Act,
    Cause,
    Reason,
    SafetyInputs,
    SafetyState,
    SafetyStateMachine,
    Thresholds,
)

MS = 1_000_000
T0 = 1_700_000_000_000_000_000
THRESHOLDS = Thresholds(
    tail=1000 * MS,
    decelerate=1300 * MS,
    hold=2000 * MS,
    latch=5000 * MS,
    joint_tail=250 * MS,
    joint_decelerate=500 * MS,
)
FAULTS = {cause: Reason(cause=cause, text=f'a fault of the {cause.value}') for cause in Cause}


def seen(ms: float, *faults: Cause, joint: float | None = None, rests: float | None = 2000) -> SafetyInputs:
    """Return what is seen ``ms`` after T0; the joint state is fresh unless its stamp is given."""
    now = T0 + round(ms * MS)
    return SafetyInputs(
        now=now,
        joint_state=now if joint is None else T0 + round(joint * MS),
        rests_at=None if rests is None else T0 + round(rests * MS),
        faults=tuple(FAULTS[cause] for cause in faults),
    )


def running(**options: Any) -> SafetyStateMachine:
    """Return a ladder that follows a chunk whose observation was at T0."""
    ladder = SafetyStateMachine(THRESHOLDS, **options)
    ladder.step(seen(0))
    ladder.offered(T0)
    ladder.accepted(T0)
    return ladder


@pytest.mark.parametrize(
    ('age', 'rung', 'act'),
    [
        (0, SafetyState.RUN, Act.NONE),
        (1000, SafetyState.RUN, Act.NONE),
        (1001, SafetyState.TAIL, Act.NONE),
        (1300, SafetyState.TAIL, Act.NONE),
        (1301, SafetyState.DECELERATE, Act.STOP),
        (2001, SafetyState.HOLD, Act.STOP),
        (5001, SafetyState.LATCHED, Act.STOP),
    ],
)
def test_the_age_of_the_observation_says_how_far_to_climb(age, rung, act):
    ladder = running()
    assert ladder.step(seen(age)) is act
    assert ladder.safety_state is rung
    assert (ladder.reason is None) == (rung is SafetyState.RUN)
    if ladder.reason:
        assert ladder.reason.cause is Cause.OBSERVATION
        assert f'newer than {age / 1000:.3f} s' in str(ladder.reason)


@pytest.mark.parametrize(
    ('age', 'rung'), [(250, SafetyState.RUN), (251, SafetyState.TAIL), (501, SafetyState.DECELERATE)]
)
def test_so_does_the_age_of_the_joint_state(age, rung):
    ladder = running()
    ladder.step(seen(600, joint=600 - age))
    assert ladder.safety_state is rung
    assert ladder.reason is None or ladder.reason.cause is Cause.JOINT_STATE


def test_the_arm_is_stopped_once_on_the_way_up():
    ladder = running()
    acts = [ladder.step(seen(ms)) for ms in range(0, 8000, 50)]
    assert acts.count(Act.STOP) == 1
    assert set(acts) == {Act.NONE, Act.STOP}
    assert acts.index(Act.STOP) == 1350 // 50
    assert ladder.latched


@pytest.mark.parametrize('ms', [1100, 1500, 2500])
def test_a_chunk_leads_down_again_until_the_ladder_is_latched(ms):
    ladder = running()
    ladder.step(seen(ms))
    assert ladder.objection(T0 + ms * MS, T0 + ms * MS) is None
    ladder.accepted(T0 + ms * MS)
    assert ladder.step(seen(ms + 50)) is Act.NONE
    assert ladder.safety_state is SafetyState.RUN
    assert ladder.reason is None
    assert ladder.step(seen(ms + 1301)) is Act.STOP, 'it can be stopped again'


def test_a_stopped_arm_is_not_said_to_run_because_joint_states_are_back():
    ladder = running()
    assert ladder.step(seen(600, joint=0)) is Act.STOP
    assert ladder.step(seen(650)) is Act.NONE
    assert ladder.safety_state is SafetyState.DECELERATE
    late = running()
    rungs = []
    for ms, joint in ((300, 0), (350, 350)):
        late.step(seen(ms, joint=joint))
        rungs.append(late.safety_state)
    assert rungs == [SafetyState.TAIL, SafetyState.RUN], 'nothing had been done yet'


def test_a_chunk_from_an_observation_that_would_have_the_arm_stopped_is_refused():
    ladder = running()
    assert ladder.objection(T0, T0 + 1300 * MS) is None
    assert 'made from an observation 1.301 s old, allowed 1.300 s' in str(ladder.objection(T0, T0 + 1301 * MS))


def test_before_the_first_chunk_there_is_nothing_to_stop_and_no_age():
    ladder = SafetyStateMachine(THRESHOLDS)
    for ms in range(0, 20_000, 500):
        assert ladder.step(seen(ms, joint=-9000, rests=None)) is Act.NONE
    assert ladder.safety_state is SafetyState.WAIT


@pytest.mark.parametrize('cause', [Cause.PUBLISHER, Cause.ENABLE])
def test_a_fault_latches_a_moving_arm_and_only_keeps_a_resting_one_from_moving(cause):
    waiting = SafetyStateMachine(THRESHOLDS)
    assert waiting.step(seen(0, cause)) is Act.NONE
    assert waiting.safety_state is SafetyState.WAIT
    assert waiting.objection(T0, T0) == FAULTS[cause]
    waiting.step(seen(50))
    assert waiting.objection(T0, T0) is None

    moving = running()
    assert moving.step(seen(500, cause)) is Act.STOP
    assert moving.latched
    assert moving.reason == FAULTS[cause]
    assert moving.step(seen(550)) is Act.NONE
    assert moving.latched, 'a latch outlives its cause'
    assert 'stopped until ~/reset is called: a fault of the' in str(moving.objection(T0 + 500 * MS, T0 + 550 * MS))


def test_a_controller_that_is_gone_stops_without_a_latch_and_makes_the_plan_void():
    ladder = running()
    assert ladder.step(seen(500, Cause.CONTROLLER)) is Act.STOP
    assert ladder.safety_state is SafetyState.WAIT
    assert ladder.objection(T0 + 500 * MS, T0 + 500 * MS) == FAULTS[Cause.CONTROLLER]
    assert ladder.step(seen(9000)) is Act.NONE
    assert ladder.safety_state is SafetyState.WAIT
    assert ladder.objection(T0 + 9000 * MS, T0 + 9000 * MS) is None


def test_the_first_reason_that_latched_stays():
    ladder = running()
    assert ladder.latch(FAULTS[Cause.OPERATOR]) is Act.STOP
    assert ladder.latch(FAULTS[Cause.CHUNK]) is Act.NONE
    ladder.step(seen(9000, Cause.PUBLISHER))
    ladder.void(FAULTS[Cause.CLOCK])
    assert ladder.reason == FAULTS[Cause.OPERATOR]


def test_a_latch_without_motion_has_nothing_to_stop():
    ladder = SafetyStateMachine(THRESHOLDS)
    assert ladder.latch(FAULTS[Cause.OPERATOR]) is Act.NONE
    assert ladder.latched


def test_a_jump_of_the_clock_makes_everything_anew():
    ladder = running()
    ladder.void(FAULTS[Cause.CLOCK])
    assert ladder.step(seen(-50_000)) is Act.NONE
    assert ladder.safety_state is SafetyState.WAIT
    assert ladder.reason == FAULTS[Cause.CLOCK], 'said until a chunk is taken'
    assert ladder.objection(T0 - 50_000 * MS, T0 - 50_000 * MS) is None
    ladder.accepted(T0 - 50_000 * MS)
    ladder.step(seen(-49_500))
    assert ladder.safety_state.name == 'RUN'


def test_reset_leads_back_to_the_start():
    ladder = running()
    ladder.latch(FAULTS[Cause.OPERATOR])
    assert ladder.reset(seen(3000)) == ''
    assert ladder.safety_state is SafetyState.WAIT
    assert ladder.reason is None
    assert ladder.objection(T0 + 3000 * MS, T0 + 3000 * MS) is None


def test_reset_of_a_ladder_that_is_not_latched_changes_nothing():
    ladder = running()
    assert ladder.reset(seen(500)) == ''
    assert ladder.safety_state is SafetyState.RUN


@pytest.mark.parametrize(
    ('cause', 'during', 'reason'),
    [
        (Cause.PUBLISHER, {'faults': (Cause.PUBLISHER,)}, 'a fault of the publisher'),
        (Cause.OPERATOR, {'faults': (Cause.ENABLE,)}, 'a fault of the enable'),
        (Cause.OPERATOR, {'rests': 6500}, 'the arm comes to rest in 0.5 s'),
        (Cause.JOINT_STATE, {'joint': 5600}, 'the newest good joint state is 0.400 s old'),
        (Cause.OBSERVATION, {}, 'observation behind the newest chunk: got one 6.0 s old, allowed up to 1.0 s'),
    ],
)
def test_reset_is_refused_while_the_cause_persists(cause, during, reason):
    ladder = running()
    ladder.latch(FAULTS[cause])
    faults = during.pop('faults', ())
    assert reason in ladder.reset(seen(6000, *faults, **during))
    assert ladder.latched
    ladder.offered(T0 + 6900 * MS)
    assert ladder.reset(seen(7000)) == ''


def test_a_chunk_from_the_future_does_not_count_as_fresh():
    ladder = running()
    ladder.latch(FAULTS[Cause.OBSERVATION])
    ladder.offered(T0 + 60_000 * MS)
    assert 'allowed up to 1.0 s' in ladder.reset(seen(6000))


def test_home_is_gone_to_once_and_the_arm_is_latched_there():
    ladder = running(fallback='home')
    assert ladder.step(seen(1350)) is Act.STOP
    assert ladder.step(seen(2050)) is Act.HOME
    assert ladder.safety_state is SafetyState.HOME
    assert 'stopped until' in str(ladder.objection(T0 + 2050 * MS, T0 + 2050 * MS))
    assert 'on the way home' in ladder.reset(seen(3000, rests=6000))
    assert ladder.step(seen(5900, rests=6000)) is Act.NONE
    assert ladder.safety_state is SafetyState.HOME, 'thresholds of the observation do not count on the way'
    assert ladder.step(seen(6000, rests=6000)) is Act.NONE
    assert ladder.latched
    assert 'at home: no chunk for' in str(ladder.reason)


def test_nobody_goes_home_blind_or_for_another_cause_than_missing_observations():
    blind = running(fallback='home')
    blind.step(seen(1350, joint=1300))
    assert blind.step(seen(2050, joint=1300)) is Act.NONE
    assert blind.safety_state is SafetyState.HOLD
    operator = running(fallback='home')
    assert operator.latch(FAULTS[Cause.OPERATOR]) is Act.STOP
    assert operator.step(seen(2050)) is Act.NONE
    assert operator.latched


@pytest.mark.parametrize('what', ['joint', 'fault', 'operator', 'controller', 'clock'])
def test_on_the_way_home_the_arm_can_be_stopped(what):
    ladder = running(fallback='home')
    ladder.step(seen(2050))
    assert ladder.safety_state is SafetyState.HOME
    if what == 'joint':
        assert ladder.step(seen(3000, joint=2400, rests=6000)) is Act.STOP
    elif what == 'fault':
        assert ladder.step(seen(3000, Cause.PUBLISHER, rests=6000)) is Act.STOP
    elif what == 'controller':
        assert ladder.step(seen(3000, Cause.CONTROLLER, rests=6000)) is Act.STOP
    elif what == 'operator':
        assert ladder.latch(FAULTS[Cause.OPERATOR]) is Act.STOP
    else:
        ladder.void(FAULTS[Cause.CLOCK])
    assert ladder.latched


@pytest.mark.parametrize(
    'wrong',
    [{'tail': 0}, {'decelerate': 900 * MS}, {'hold': 1200 * MS}, {'latch': 1900 * MS}, {'joint_decelerate': 200 * MS},
     {'joint_decelerate': 2100 * MS}],
)  # fmt: skip
def test_thresholds_out_of_order_are_refused(wrong):
    with pytest.raises(ConfigError, match='allowed each no less than the one before'):
        replace(THRESHOLDS, **wrong)


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just('step'), st.sampled_from([(), (Cause.PUBLISHER,), (Cause.CONTROLLER,), (Cause.ENABLE,)])),
        st.tuples(st.just('chunk'), st.integers(0, 3000)),
        st.tuples(st.just('latch'), st.just(Cause.OPERATOR)),
        st.tuples(st.just('void'), st.just(Cause.CLOCK)),
        st.tuples(st.just('reset'), st.just(None)),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(events=EVENTS, pauses=st.lists(st.integers(1, 700), min_size=60, max_size=60), home=st.booleans())
def test_whatever_happens_motion_ends_and_a_latch_holds(events, pauses, home):
    """After any events: what moves was begun by a chunk or home, and is stopped once the observation is too old."""
    ladder = SafetyStateMachine(THRESHOLDS, fallback='home' if home else 'hold')
    ms, moving, begun, latched = 0, False, False, False
    for (event, what), pause in zip(events, pauses, strict=False):
        ms += pause
        acts = []
        if event == 'step':
            acts = [ladder.step(seen(ms, *what, rests=ms + 100))]
        elif event == 'latch':
            acts = [ladder.latch(FAULTS[what])]
        elif event == 'void':
            ladder.void(FAULTS[what])
            moving = begun = False  # the owner holds
        elif event == 'reset':
            if ladder.reset(seen(ms, rests=ms)) == '':
                latched = False
        elif ladder.objection(T0 + (ms - what) * MS, T0 + ms * MS) is None:
            assert not latched
            ladder.accepted(T0 + (ms - what) * MS)
            moving = begun = True
        for act in acts:
            # An arm that was stopped for want of observations may go home.
            assert act is Act.NONE or moving or (begun and act is Act.HOME)
            moving = act is Act.HOME or (moving and act is not Act.STOP)
        if latched:
            assert ladder.latched
        latched = ladder.latched
        begun = begun and not latched
        assert not (latched and moving)
    ladder.step(seen(ms + 6000, rests=ms))
    if ladder.safety_state is SafetyState.HOME:
        ladder.step(seen(ms + 6050, rests=ms))
    assert ladder.safety_state in (SafetyState.WAIT, SafetyState.LATCHED)
