"""The parameters of the node, read and checked: of plans, of what goes out, and of safety."""
