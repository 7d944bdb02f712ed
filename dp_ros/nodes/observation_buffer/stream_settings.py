"""Parameters of the observation_buffer: where streams come from, and how strict it is with them."""

from __future__ import annotations

from collections.abc import Sequence

from dp_ros.data import to_nanoseconds
from dp_ros.errors import ConfigError, listed
from dp_ros.options import Option
from dp_ros.policy.alignment import AlignmentLimits
from dp_ros.ros.lifecycle import ManagedNode
from dp_ros.ros.parameters import overrides
from dp_ros.task.spec import ImageStream, Stream

TOPICS, MAX_AGE, OTHER_SIZE = 'topics.', 'max_age.', 'other_size.'
REFUSE, LETTERBOX, CROP = 'refuse', 'letterbox', 'crop'
LONGEST = 60.0  # [s]
PARAMETERS = [
    Option(
        name='max_skew', default=0.0, low=0.0, high=LONGEST,
        description="Largest difference between the stamps of an observation's streams [s]; 0: not checked.",
    ),
    Option(
        name='max_frozen', default=1.0, low=0.0, high=LONGEST,
        description='How long a camera may send one and the same picture under new stamps [s], and from half of which '
        'diagnostics name it; 0: not checked. A real camera has noise and never does; a rendered one has none and '
        'repeats itself while nothing moves: 0 for that.',
    ),
]  # fmt: skip
PATTERNS = {
    r'topics\.[^.]+': 'topics.<stream of the bundle>',
    r'max_age\.[^.]+': 'max_age.<stream of the bundle>',
    r'other_size\.[^.]+': 'other_size.<camera of the bundle>',
}


def declare_streams(node: ManagedNode, streams: Sequence[Stream]) -> None:
    """Declare the parameters that each stream of the bundle has.

    Raises
    ------
    ConfigError
        If the node was given one for a stream that the bundle lacks.

    """
    names = [stream.name for stream in streams]
    stretched = [stream.name for stream in streams if _stretched(stream)]
    _refuse_unknown(node, (TOPICS, MAX_AGE), names, 'a stream that the bundle lacks')
    _refuse_unknown(node, (OTHER_SIZE,), stretched, 'no camera of the bundle that learnt with fit: stretch')
    node.declare_more([parameter(stream) for stream in streams for parameter in (_topic, _max_age)])
    node.declare_more([_other_size(stream) for stream in streams if _stretched(stream)])


def _refuse_unknown(node: ManagedNode, prefixes: tuple[str, ...], allowed: Sequence[str], got: str) -> None:
    given = [name for name in overrides(node) if name.startswith(prefixes)]
    unknown = [name for name in given if name.split('.', 1)[1] not in allowed]
    if unknown:
        raise ConfigError(f'{listed(unknown)}: got {got}, allowed {listed(allowed) or "none"}')


def _stretched(stream: Stream) -> bool:
    return isinstance(stream, ImageStream) and stream.fit == 'stretch'


def refitted(node: ManagedNode, streams: Sequence[Stream]) -> dict[str, str]:
    """Return the cameras whose pictures of another size are taken, and how: `LETTERBOX` or `CROP`."""
    ways = {s.name: str(node.value(OTHER_SIZE + s.name)) for s in streams if _stretched(s)}
    return {name: way for name, way in ways.items() if way != REFUSE}


def make_alignment_limits(node: ManagedNode, streams: Sequence[Stream]) -> AlignmentLimits:
    """Return what a node's parameters ask of observations."""
    return AlignmentLimits(
        max_age={stream.name: to_nanoseconds(node.value(MAX_AGE + stream.name)) for stream in streams},
        max_skew=to_nanoseconds(node.value('max_skew')),
        max_frozen=to_nanoseconds(node.value('max_frozen')),
    )


def _topic(stream: Stream) -> Option:
    return Option(
        name=TOPICS + stream.name,
        default='',
        description=f"Topic of the stream {stream.name}; empty: the bundle's, {stream.topic}, below the namespace.",
    )


def _max_age(stream: Stream) -> Option:
    return Option(
        name=MAX_AGE + stream.name,
        default=0.0,
        low=0.0,
        high=LONGEST,
        description=f'Oldest message of the stream {stream.name} that counts [s]: up to {stream.max_age}, as the '
        'policy learnt; 0: that.',
    )


def _other_size(stream: Stream) -> Option:
    return Option(
        name=OTHER_SIZE + stream.name,
        default=REFUSE,
        choices=(REFUSE, LETTERBOX, CROP),
        description=f'Pictures of the camera {stream.name} of another size than those of the training: refuse; '
        'letterbox: take them whole, with black beside them, so that things keep their shape; crop: take their middle '
        'in the shape of those, and leave out what is beside it.',
    )
