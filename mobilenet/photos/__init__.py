"""Labelled photos: found, decoded, split.

Read folders, decoding, layouts, tables, duplicates, photos, corrections, loading, splits,
datasets.
"""
