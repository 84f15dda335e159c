"""Networks trained from random weights (notebook 6).

Read plan, trainer, kept_runs, muon, distillation. In results/ are the runs.
"""
