#!/usr/bin/env bash
# Ray 2.60.0: a thread of Ray Data outlives the iterator that it fetched for, if that was left early.
#
# Guess: iter_rows() or iter_batches() in a loop, left by break and closed, leaves nothing behind:
# Ray's documentation says that breaking out of the loop shuts the execution down.
#
# Seen: each iterator starts a thread "Prefetcher". Run to the end, it is told to stop. Left early,
# it is not, with close() neither, since it would be stopped when its object is collected, and the
# thread itself holds the object. With prefetch_batches=0 it is there as well, but has nothing to
# fetch. A service that looks at the first rows of data sets, again and again, gathers threads.
#
# Ends with 0 as long as this holds, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
  "ray[data]==2.60.0" pyarrow==26.0.1 pandas==3.1.1 numpy==2.4.6
cat > "$folder/leave.py" << 'END'
import gc
import json
import sys
import threading
import time

import ray

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
ray.data.DataContext.get_current().enable_progress_bars = False
data = ray.data.range(100, override_num_blocks=10)


def threads():
    gc.collect()
    time.sleep(2)
    return sum(thread.name == "Prefetcher" for thread in threading.enumerate())


found = {"before": threads()}
for row in data.iter_rows():
    pass
found["run to the end"] = threads()
for number in range(3):
    rows = iter(data.iter_rows())
    next(rows)
    rows.close()
    del rows
found["three left early"] = threads()
with open(sys.argv[1], "w") as file:
    json.dump(found, file)
END
"$folder/venv/bin/python" "$folder/leave.py" "$folder/found.json" > "$folder/log" 2>&1 \
  || { tail -5 "$folder/log"; exit 1; }
cat "$folder/found.json"
echo
python3 - "$folder/found.json" << 'END'
import json
import sys

found = json.load(open(sys.argv[1]))
sys.exit(found != {"before": 0, "run to the end": 0, "three left early": 3})
END
