"""What a drawn picture shows and how it is traced, for dataset/render.py. Read in this order:
shapes.py, bodies.py, animals.py, things.py, scenes.py, tracing.py; each stands on those before it.
"""
