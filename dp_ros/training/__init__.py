"""Learning, offline: recordings to episodes, windows, a trained network and a bundle."""
