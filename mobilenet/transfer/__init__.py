"""A new head and fine-tuning (notebooks 3, 4).

Read augmentation, features, training, metrics, solver, runs, lesson.
"""
