"""Read the datasets of other projects, and write them."""
