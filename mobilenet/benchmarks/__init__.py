"""What is measured against what.

Read recipe, links, one_run, peers, made_photos, comparison, ablation.
"""
