"""Millions of photos, on one machine or many (docs/scale.md).

Read chunking, parts, extraction, labelled, passes, whole_head, cluster.
"""
