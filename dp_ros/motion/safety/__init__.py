"""Judge measurements and clocks, and decide whether the arm may move: states, followed plans, points to hold."""
