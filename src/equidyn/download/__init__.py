"""Datasets from the network: the table and its lock file, and the transfer."""
