"""Shards, their index and order, views, tokenizers and the data module."""
