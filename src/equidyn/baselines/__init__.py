"""Equivariant predictors that have learned next to nothing: the bar for having learned something."""
