"""Denoisers and observation encoders, in torch. Only training and export need them."""
