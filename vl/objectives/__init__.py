"""Pretraining objectives: one file each."""
