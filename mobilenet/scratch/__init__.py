"""Networks trained from random weights (notebook 6).

Read plan, fused, trainer, kept_runs, muon, distillation. In results/ are the runs.
"""
