"""Networks trained from random weights (notebook 6).

Read plan, fused, learning, trainer, ablation, kept_runs, muon, distillation. In results/ are the runs.
"""
