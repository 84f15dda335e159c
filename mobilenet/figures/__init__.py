"""Every picture that a notebook shows.

Read canvas, lettering, bars, grids, confusion, feature_map, curves, trust, costs, layers,
comparisons, phone.
"""
