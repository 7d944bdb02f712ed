"""What an executor waits for, made once and kept until an entity comes or goes: the wait set of `LeanExecutor`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rclpy.context import Context
from rclpy.event_handler import EventHandler
from rclpy.exceptions import InvalidHandle
from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.subscription import Subscription
from rclpy.timer import Timer
from rclpy.waitable import NumberOfEntities


@dataclass(frozen=True, kw_only=True)
class Ready:
    """What a wait has found: entities whose plain callbacks can be called, and whether there is more."""

    timers: list[Timer]
    subscriptions: list[Subscription]
    guards: list[GuardCondition]
    more: bool

    def __bool__(self) -> bool:
        return bool(self.timers or self.subscriptions or self.guards or self.more)


class WaitSet:
    """What the nodes of an executor wait for. Entities are kept from being destroyed during a wait, and only then.

    Attributes
    ----------
    without_events
        Whether there are events that are not waited for.

    """

    def __init__(self, nodes: Iterable[Node], guards: Iterable[Any], context: Context, *, events: bool) -> None:
        nodes = list(nodes)
        subscriptions = _usable(s for node in nodes for s in node.subscriptions)
        timers = _usable(t for node in nodes for t in node.timers)
        clients = _usable(c for node in nodes for c in node.clients)
        services = _usable(s for node in nodes for s in node.services)
        own = _usable(g for node in nodes for g in node.guards)
        conditions = [*own, *_usable(guards)]
        self._plain_guards = {g.handle.pointer: g for g in own if _is_plain(g.callback)}
        self._coroutine_guards = {g.handle.pointer: g for g in own if not _is_plain(g.callback)}
        for guard in self._plain_guards.values():
            if guard._executor_triggered:  # rclpy has seen it, and did not get there
                guard._executor_triggered = False
                guard.trigger()
        waitables = _usable((w for node in nodes for w in node.waitables), lambda waitable: waitable)
        self._waitables = [w for w in waitables if events or not isinstance(w, EventHandler)]
        self.without_events = len(self._waitables) < len(waitables)
        count = NumberOfEntities(len(subscriptions), len(conditions), len(timers), len(clients), len(services))
        for waitable in self._waitables:
            count += waitable.get_num_entities()
        self._set = rclpy_implementation.WaitSet(
            count.num_subscriptions,
            count.num_guard_conditions,
            count.num_timers,
            count.num_clients,
            count.num_services,
            count.num_events,
            context.handle,
        )
        adders = (
            (self._set.add_subscription, subscriptions),
            (self._set.add_timer, timers),
            (self._set.add_client, clients),
            (self._set.add_service, services),
            (self._set.add_guard_condition, conditions),
        )
        self._added = [(add, entity.handle) for add, entities in adders for entity in entities]
        self._held = [context.handle, *(handle for _, handle in self._added), *self._waitables]
        self._timers = {t.handle.pointer: t for t in timers if _is_plain(t.callback)}
        self._subscriptions = {s.handle.pointer: s for s in subscriptions if _is_plain(s.callback)}

    def wait(self, nanoseconds: int) -> Ready:
        """Wait until something is ready, or so long; for ever if negative.

        Returns what can be dealt with at once, and whether there is anything else.

        Raises
        ------
        InvalidHandle
            If an entity is being destroyed.

        """
        held = 0
        try:
            for handle in self._held:
                handle.__enter__()
                held += 1
            self._set.clear_entities()
            for add, handle in self._added:
                add(handle)
            for waitable in self._waitables:
                waitable.add_to_wait_set(self._set)
            self._set.wait(nanoseconds)
            return self._ready()
        finally:
            for handle in self._held[:held][::-1]:
                handle.__exit__(None, None, None)

    def _ready(self) -> Ready:
        timers, subscriptions = (self._set.get_ready_entities(kind) for kind in ('timer', 'subscription'))
        triggered = self._set.get_ready_entities('guard_condition')
        for pointer in triggered:
            if pointer in self._coroutine_guards:
                # By this it is known to rclpy, for it is ready only once.
                self._coroutine_guards[pointer]._executor_triggered = True
        more = (
            not (self._timers.keys() >= set(timers) and self._subscriptions.keys() >= set(subscriptions))
            or not self._plain_guards.keys() >= set(triggered)
            or any(self._set.get_ready_entities(kind) for kind in ('service', 'client'))
            or any(waitable.is_ready(self._set) for waitable in self._waitables)
        )
        return Ready(
            timers=[self._timers[p] for p in timers if p in self._timers],
            subscriptions=[self._subscriptions[p] for p in subscriptions if p in self._subscriptions],
            guards=[self._plain_guards[p] for p in triggered if p in self._plain_guards],
            more=more,
        )


def _usable(entities: Iterable[Any], handle: Callable[[Any], Any] = lambda entity: entity.handle) -> list[Any]:
    """Return those that are not being destroyed."""
    usable = []
    for entity in entities:
        try:
            with handle(entity):
                usable.append(entity)
        except InvalidHandle:
            continue
    return usable


def _is_plain(callback: Any) -> bool:
    return not inspect.iscoroutinefunction(callback)
