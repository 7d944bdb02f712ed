"""dp_ros: recorded demonstrations in, a diffusion policy on a ROS 2 arm out.

`dp_ros.Policy` is `dp_ros.policy.protocol.Policy`; it is imported when it is first used, so that importing
`dp_ros` needs nothing installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dp_ros.policy.protocol import Policy

__version__ = '0.1.0'
__all__ = ['Policy', '__version__']


def __getattr__(name: str) -> Any:
    if name == 'Policy':
        from dp_ros.policy.protocol import Policy

        return Policy
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
