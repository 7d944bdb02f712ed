"""Read, write and check a bundle: the folder that holds an exported policy and describes itself."""
