"""What a drawn picture shows and how it is traced, for dataset/render.py. Read in this order:
shapes.py, bodies.py, woolly.py, animals.py, herds.py, framing.py, props.py, scenes.py, tracing.py;
each stands on those before it. things.py are the things of rendered_other/, on shapes.py.
"""
