"""A node that serves the simulated controller's parameters, under the names and types of the real controller's.

Whoever checks the controller before moving finds here what it would find there.
"""

from __future__ import annotations

import threading
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter

from dp_ros.ros.callback_errors import CallbackError, Patience
from dp_ros.ros.guarded_node import GuardedNode
from dp_ros.ros.queries import full_name
from dp_ros.simulation.controller.spec import ControllerSpec

STOP_TIMEOUT = 5.0  # [s]


def parameters_of(joints: tuple[str, ...], spec: ControllerSpec) -> dict[str, Any]:
    """Return the real controller's parameters for these settings; what is not modelled has its default."""
    tolerances = {'trajectory': spec.trajectory_tolerance, 'goal': spec.goal_tolerance}
    constraints = {
        f'constraints.{joint}.{kind}': float(value[i] if isinstance(value, tuple) else value)
        for i, joint in enumerate(joints)
        for kind, value in tolerances.items()
    }
    return {
        'joints': list(joints),
        # Empty in most real controllers, with the same meaning; rclpy can't hold an empty list of strings.
        'command_joints': list(joints),
        'command_interfaces': list(spec.command_interfaces),
        'state_interfaces': list(spec.state_interfaces),
        'interpolation_method': spec.interpolation_method,
        'interpolate_from_desired_state': spec.interpolate_from_desired_state,
        'allow_nonzero_velocity_at_trajectory_end': spec.allow_nonzero_velocity_at_trajectory_end,
        'allow_partial_joints_goal': spec.allow_partial_joints_goal,
        'allow_integration_in_goal_trajectories': False,
        'set_last_command_interface_value_as_state_on_activation': (
            spec.set_last_command_interface_value_as_state_on_activation
        ),
        'action_monitor_rate': 20.0,
        'cmd_timeout': spec.cmd_timeout,
        'constraints.goal_time': spec.goal_time,
        'constraints.stopped_velocity_tolerance': spec.stopped_velocity_tolerance,
        'constraints.decelerate_on_cancel': False,
        'speed_scaling.initial_scaling_factor': spec.initial_scaling_factor,
        'speed_scaling.state_interface': '',
        'speed_scaling.command_interface': '',
        'update_rate': round(spec.rate),
        'open_loop_control': False,
        **constraints,
    }


class ControllerParameters:
    """The node, and the thread that answers for it.

    It has a thread of its own so that it answers while other nodes of the process are busy, also with asking it.

    Parameters
    ----------
    beside
        The node that the controller belongs to; it gives context and namespace.
    name
        The controller's name.
    parameters
        Values by name; they can be read and not set.
    use_sim_time
        What the node says of its clock.

    """

    def __init__(self, beside: Node, name: str, parameters: dict[str, Any], *, use_sim_time: bool) -> None:
        namespace, _, base = full_name(beside, name).rpartition('/')
        # No global arguments: they rename and remap the node that this one stands beside.
        self.node = GuardedNode(
            base,
            context=beside.context,
            namespace=namespace,
            use_global_arguments=False,
            enable_rosout=False,
        )
        fixed = ParameterDescriptor(read_only=True)
        for key, value in parameters.items():
            self.node.declare_parameter(key, value, fixed)
        # Only said, not set: nothing here needs the time, and following a fast /clock would cost a processor.
        self.node._parameters['use_sim_time'] = Parameter('use_sim_time', value=use_sim_time)
        self._executor = SingleThreadedExecutor(context=beside.context)
        self._executor.add_node(self.node)
        self._closing = False
        self._thread = threading.Thread(target=self._spin, name='controller_parameters', daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        patience = Patience()
        while self.node.context.ok() and not self._closing:
            try:
                self._executor.spin_once()
                patience.went_well()
            except ExternalShutdownException:
                return  # the process ends
            except Exception as error:
                if not self.node.context.ok():
                    return
                self.node.handle_error(CallbackError(where='rclpy', error=error, harmless=True))
                patience.failed(error)

    def close(self) -> None:
        """Take the node away."""
        self._closing = True
        self._executor.shutdown(STOP_TIMEOUT)
        self._thread.join(STOP_TIMEOUT)
        self.node.destroy_node()
