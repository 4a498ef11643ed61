"""Guards against damaged, cut or crafted files: digests, completeness, restricted pickles, workers with
limits.
"""
