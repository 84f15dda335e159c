#!/usr/bin/env bash
# Keras 3.15.1: the weight decay of SGD does not pass through its momentum.
#
# Seen: a weight of 1 whose gradient is 0, rate 0.1, momentum 0.9, weight decay 0.1, 100 steps. With
# Keras's SGD it ends at (1 - 0.01) ** 100 = 0.366; with optax 0.2.6, which here adds the decay to the
# gradient, as most published recipes for SGD do, at -0.003. Momentum 0 gives 0.366 with either. So
# the decay of such a recipe has to be multiplied by 1 / (1 - momentum), ten here, or the network
# decays a tenth as much as published. The documentation says only that weight decay is applied.
#
# Ends with 0 as long as this holds, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check keras==3.15.1 jax==0.8.1 optax==0.2.6
cd "$folder"
KERAS_BACKEND=jax venv/bin/python - << 'END'
import jax.numpy as jnp
import keras
import numpy as np
import optax

RATE, DECAY, STEPS = 0.1, 0.1, 100


def by_keras(momentum):
    weight = keras.Variable(1.0)
    sgd = keras.optimizers.SGD(RATE, momentum=momentum, weight_decay=DECAY)
    sgd.build([weight])
    for _ in range(STEPS):
        sgd.apply([jnp.array(0.0)], [weight])
    return float(weight)


def by_optax(momentum):
    sgd = optax.chain(optax.add_decayed_weights(DECAY), optax.sgd(RATE, momentum))
    weight = jnp.array(1.0)
    state = sgd.init(weight)
    for _ in range(STEPS):
        change, state = sgd.update(jnp.array(0.0), state, weight)
        weight = optax.apply_updates(weight, change)
    return float(weight)


found = {m: (by_keras(m), by_optax(m)) for m in (0.0, 0.9)}
for momentum, (one, other) in found.items():
    print(f"momentum {momentum}: Keras {one:.3f}, decay added to the gradient {other:.3f}")
plain = (1 - RATE * DECAY) ** STEPS
assert np.allclose([*found[0.0], found[0.9][0]], plain, atol=1e-3), "Keras has changed"
assert abs(found[0.9][1]) < 0.05, "optax has changed"
END
