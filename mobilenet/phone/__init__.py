"""A classifier on phones (notebook 7).

Read quantizing, training_photos, convert, speed.
"""
