"""Write a trained network as a bundle, in floats or in int8."""
