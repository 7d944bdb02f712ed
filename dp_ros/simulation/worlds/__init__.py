"""The worlds, a folder each."""
