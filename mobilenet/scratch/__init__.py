"""Networks trained from random weights (notebook 6).

Read plan, trainer, kept_runs, distillation. In results/ are the runs.
"""
