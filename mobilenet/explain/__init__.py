"""Why a network predicts what it predicts, and when not to trust it (notebook 5).

Read grad_cam, neighbours, calibration, unseen, own_photos.
"""
