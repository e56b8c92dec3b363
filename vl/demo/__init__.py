"""The zero-shot web demo."""
