"""Networks trained from random weights (notebook 6).

Read plan, fused, learning, trainer, leave_one_out, kept_runs, muon, distillation. In
results/ are the runs.
"""
