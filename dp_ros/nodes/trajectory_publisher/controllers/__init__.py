"""Watch the controllers that are commanded: who listens, with which settings, in which state."""
