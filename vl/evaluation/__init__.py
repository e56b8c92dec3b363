"""Evaluators: whole-gallery and whole-set measurements of a model."""
