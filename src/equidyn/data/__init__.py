"""Datasets: one table of keys (schema), one store (HDF5), one reader per source. Knows nothing of models."""
