"""Architectures and their named sizes. Models know nothing of tasks or data."""
