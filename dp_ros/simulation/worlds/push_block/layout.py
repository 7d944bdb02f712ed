"""Where things are in the world push_block, as push_block.xml has them [m]; they lie in a line in front of the arm."""

BLOCK = 'block'  # its name
BLOCK_HALF = 0.0275  # half of its edge
START = (0.42, 0.0)  # of the block, in the middle of all starts
POST = (0.575, 0.0)
GOAL = (0.73, 0.0)
HOME = (0.320, 0.0)  # of the tool, in the middle of all starts
