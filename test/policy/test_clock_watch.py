from __future__ import annotations

from dp_ros.motion.safety.clock_watch import ClockWatch, Jump

MS = 1_000_000
T0 = 1_700_000_000_000_000_000


def test_a_system_clock_that_is_set_jumps_either_way():
    for by in (-3_600_000 * MS, -200 * MS, 200 * MS, 3_600_000 * MS):
        watch = ClockWatch(100 * MS, simulated=False)
        assert watch.look(T0, 0) is None
        assert watch.look(T0 + 50 * MS, 50 * MS) is None
        assert watch.look(T0 + 100 * MS + by, 100 * MS) == Jump(by=by, unjumped=T0 + 100 * MS, earliest=T0 + 50 * MS)
        assert watch.look(T0 + 150 * MS + by, 150 * MS) is None, 'once'


def test_a_system_clock_that_is_slewed_does_not_jump():
    watch = ClockWatch(100 * MS, simulated=False)
    assert all(watch.look(T0 + n * 51 * MS, n * 50 * MS) is None for n in range(1000))


def test_a_simulated_clock_may_stand_and_run_and_jumps_only_backwards():
    watch = ClockWatch(100 * MS, simulated=True)
    for number, now in enumerate((0, 0, 50, 10_000, 10_000, 10_001)):
        assert watch.look(T0 + now * MS, number * 50 * MS) is None
    assert watch.look(0, 300 * MS) == Jump(by=-T0 - 10_001 * MS, unjumped=T0 + 10_001 * MS, earliest=T0 + 10_001 * MS)
