"""Downstream tasks: objectives that can also answer, one file each."""
