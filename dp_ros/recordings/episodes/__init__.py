"""Cut recordings into episodes, align them, and keep them."""
