"""Views: how one sample becomes the examples of a task, one file each."""
