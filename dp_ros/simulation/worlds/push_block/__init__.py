"""The world push_block: a seven-joint arm pushes a block around a post."""
