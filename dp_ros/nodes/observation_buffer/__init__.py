"""The node `observation_buffer`: sensors in, one aligned observation for each control tick out."""

from dp_ros.nodes.observation_buffer.node import main as main
