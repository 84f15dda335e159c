#!/usr/bin/env bash
# nbclient 0.11.0 with ipykernel 7.4.0: what an asyncio task prints during a later cell is lost.
#
# Guess: a task that cell 1 starts and that runs while cell 2 waits prints into cell 2, the cell
# that is running, as a thread does that was started in the same way.
#
# Seen: the thread's four lines stand below cell 2. Of the task's four lines none stands anywhere in
# the executed notebook, and nothing fails or warns. The kernel does send them, but as output of
# cell 1, whose context the task was made in; JupyterLab adds them there, while nbclient has left
# cell 1 when its code was done, and drops what is not the current cell's. So a notebook with a
# progress line from a task looks right in JupyterLab, and after `jupyter nbconvert --execute`, or
# in a check of its outputs, the lines are missing.
#
# Ends with 0 as long as this holds, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
  nbclient==0.11.0 ipykernel==7.4.0 ipython==9.10.0 nbformat==5.11.1 jupyter-client==8.10.0
cat > "$folder/run.py" << 'END'
import sys

import nbformat
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

TASK = """import asyncio
async def steps():
    for number in range(4):
        await asyncio.sleep(0.5)
        print("step", number)
work = asyncio.create_task(steps())
print("started")""", "await work\nprint('done')"
THREAD = """import threading, time
def steps():
    for number in range(4):
        time.sleep(0.5)
        print("step", number, flush=True)
work = threading.Thread(target=steps)
work.start()
print("started")""", "work.join()\nprint('done')"


def executed(cells):  # how many steps are in the outputs of each cell
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=60).execute()
    texts = ["".join(output.text for output in cell.outputs) for cell in notebook.cells]
    return [text.count("step") for text in texts]


def sent(cells):  # how many steps the kernel sends as output of each cell
    manager, client = start_new_kernel()
    asked, texts, done = [client.execute(cell) for cell in cells], {}, 0
    while done < len(asked):
        message = client.get_iopub_msg(timeout=60)
        parent = message["parent_header"].get("msg_id")
        if message["msg_type"] == "stream":
            texts[parent] = texts.get(parent, "") + message["content"]["text"]
        if message["msg_type"] == "status" and parent in asked:
            done += message["content"]["execution_state"] == "idle"
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    return [texts[cell].count("step") for cell in asked]


found = {"thread": executed(THREAD), "task": executed(TASK), "task, as sent": sent(TASK)}
print("steps below cell 1 and cell 2:", found)
sys.exit(found != {"thread": [0, 4], "task": [0, 0], "task, as sent": [4, 0]})
END
"$folder/venv/bin/python" "$folder/run.py" 2> "$folder/log" || { tail -5 "$folder/log"; exit 1; }
