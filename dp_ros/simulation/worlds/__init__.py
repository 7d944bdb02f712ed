"""The worlds that come with dp_ros: a folder each, whose spec stands in this table. A spec needs no physics."""

from dp_ros.simulation.worlds.pick_place.spec import PICK_PLACE
from dp_ros.simulation.worlds.point_navigation.spec import POINT_NAVIGATION, POINT_OBSTACLE, POINT_TARGETS
from dp_ros.simulation.worlds.push_block.spec import PUSH_BLOCK
from dp_ros.simulation.worlds.pusht.spec import PUSHT

BUILT_IN = (PUSH_BLOCK, PICK_PLACE, PUSHT, POINT_NAVIGATION, POINT_OBSTACLE, POINT_TARGETS)
DEFAULT_WORLD = PUSHT.name  # of nodes and evaluations
DEMO_WORLD = PICK_PLACE.name  # of the commands that show or record
