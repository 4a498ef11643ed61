"""What the paper does beyond percentages: gradients, curvature, landscapes, force head, chirality,
sampling.
"""
