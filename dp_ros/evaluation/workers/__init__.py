"""Share the parts of some work, as episodes: this process, several on this machine, or a Ray cluster does them."""
