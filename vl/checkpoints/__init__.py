"""Checkpoint layouts: one file per public family, both directions."""
