"""Readers of published region features: one file a format."""
