"""Tests of dp_ros, a package of this name because Python has one too: the folder without this file would give way."""
