"""Models: one file per class, plus the layers they share."""
