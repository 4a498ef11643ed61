"""Figures: each module has ``draw(rows, paper)`` → matplotlib Figure, from tables alone."""
