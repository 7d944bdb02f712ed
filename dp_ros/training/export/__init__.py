"""Write a trained network as a bundle, in floats or in int8, or beside the networks of one."""
