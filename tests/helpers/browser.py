"""JupyterLab as `make lab` starts it, in a copy of the project, and a browser that drives it."""

import json
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

MISSING = (
    "These tests need a browser and there is none: install Chromium (apt-get install chromium, or "
    "python -m playwright install chromium)."
)
NO_PLAYWRIGHT = "These tests need Playwright: pip install -r requirements-dev.txt."
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# In place of the questions that JupyterLab asks a new user, and so that every cell is in the page.
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
}
START = 120  # seconds, on a busy machine
RUN = 300_000

# --- JupyterLab ---


def make_home(folder: Path) -> Path:
    """The home folder of a user who has answered JupyterLab's questions and wants no browser."""
    home = folder / ".jupyter"
    (home / "labconfig").mkdir(parents=True)
    overrides = home / "labconfig" / "default_setting_overrides.json"
    overrides.write_text(json.dumps(SETTINGS), encoding="utf-8")
    quiet = {"ServerApp": {"open_browser": False}}
    (home / "jupyter_lab_config.json").write_text(json.dumps(quiet), encoding="utf-8")
    return folder


def environment(home: Path) -> dict[str, str]:
    """That of a user with this home folder, no photos and no weights of their own."""
    foreign = re.compile(r"JUPYTER|IPYTHON|XDG_|MAKE|MFLAGS|(PHOTOS|KERAS_HOME)$")
    kept = {name: value for name, value in os.environ.items() if not foreign.match(name)}
    return kept | {"HOME": str(home), "WEIGHTS": "bundled"}


@contextmanager
def lab(project: Path, home: Path) -> Iterator[str]:
    """`make lab` in a project, with what is installed here; yields the address that it prints."""
    make = ["make", "-o", ".venv/ready", f"BIN={Path(sys.executable).parent}", "lab"]
    process = subprocess.Popen(
        make,
        cwd=project,
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    lines, said = queue.Queue(), ""

    def read() -> None:
        with process.stdout as output:
            for line in output:
                lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    try:
        while not (found := re.search(r"http://\S+token=\S+", said)):
            try:
                line = lines.get(timeout=START)
            except queue.Empty:
                pytest.fail(f"make lab printed no address:\n{said}")
            assert line, f"make lab has ended:\n{said}"
            said += line
        address = found.group()
        while not answers(urlsplit(address).port):  # the address is printed a little earlier
            assert not ended(process, 0.1), f"make lab has ended:\n{said}"
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # the server then ends its kernels
        if not ended(process, 30):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def ended(process: subprocess.Popen, seconds: float) -> bool:
    """Whether a process ends within so many seconds."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def answers(port: int) -> bool:
    """Whether something on this machine takes connections to this port."""
    try:
        socket.create_connection(("localhost", port), timeout=START).close()
    except ConnectionRefusedError:
        return False
    return True


def listening(port: int) -> set[str]:
    """The addresses on which something listens on this port, as Linux writes them (hexadecimal)."""
    found = set()
    for table in Path("/proc/net").glob("tcp*"):
        for row in table.read_text().splitlines()[1:]:
            _, local, _, state, *_ = row.split()
            address, number = local.split(":")
            if state == "0A" and int(number, 16) == port:
                found.add(address)
    return found


# --- The browser ---


@contextmanager
def chromium() -> Iterator:
    """Headless Chromium: the one that is installed, else Playwright's own."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.fail(NO_PLAYWRIGHT, pytrace=False)
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    with sync_playwright() as playwright:
        if program is None and not Path(playwright.chromium.executable_path).exists():
            pytest.fail(MISSING, pytrace=False)
        root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses root otherwise
        options = [*root, "--no-proxy-server"]
        browser = playwright.chromium.launch(executable_path=program, args=options)
        try:
            yield browser
        finally:
            browser.close()


def menu(page, name: str, entry: str) -> None:
    """Choose an entry of a menu."""
    page.locator(".lm-MenuBar-itemLabel", has_text=re.compile(f"^{name}$")).click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{entry}$")).click()


def open_notebook(page, address: str, cells: int) -> None:
    """Open a notebook of so many cells and wait until all are there and its kernel is idle."""
    page.goto(address + "&reset")
    page.wait_for_function(
        "count => document.querySelectorAll('.jp-Notebook .jp-Cell').length === count", arg=cells
    )
    # The toolbar already calls a kernel idle while it is being connected, the line below does not.
    page.wait_for_selector("#jp-main-statusbar :text('| Idle')")


def save(page) -> None:
    """Save the notebook and wait until it is saved."""
    page.keyboard.press("Control+s")
    page.wait_for_function("() => !document.querySelector('.lm-TabBar-tab.jp-mod-dirty')")


def wait_until_run(page, counts: dict[int, int]) -> None:
    """Wait until code cells show these execution counts, {cell: count}, or any cell an error."""
    from playwright.sync_api import TimeoutError

    prompts = "[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')]"
    try:
        page.wait_for_function(
            f"""counts => {{
                const said = {prompts}.map(prompt => prompt.textContent.trim());
                const idle = '.jp-Notebook-ExecutionIndicator[data-status=idle]';
                return document.querySelector(idle)
                    && (document.querySelector('.jp-Notebook [data-mime-type$="jupyter.error"]')
                        || Object.keys(counts).every(i => said[i] === `[${{counts[i]}}]:`));
            }}""",
            arg={str(cell): count for cell, count in counts.items()},
            timeout=RUN,
        )
    except TimeoutError:
        said = page.locator(".jp-CodeCell .jp-InputPrompt").all_inner_texts()
        status = page.locator(".jp-Notebook-ExecutionIndicator").get_attribute("data-status")
        pytest.fail(f"the cells say {said} instead of {counts}, the kernel is {status}")


def wait_for_pictures(page) -> None:
    """Wait until the browser has decoded every picture of the notebook."""
    page.wait_for_function(
        """() => [...document.querySelectorAll('.jp-Notebook img')].every(
            picture => picture.complete && picture.naturalWidth > 0)"""
    )


def check_no_errors(page) -> None:
    """Nothing that was run shows an error or a warning."""
    for kind in ("error", "stderr"):
        found = page.locator(f".jp-Notebook [data-mime-type='application/vnd.jupyter.{kind}']")
        assert found.all_inner_texts() == []


def select(page, cell: int) -> None:
    """Make a code cell the active one, by a click on its prompt."""
    page.locator(".jp-CodeCell").nth(cell).locator(".jp-InputPrompt").click()


def turn(page, cell: int, name: str, old: str, new: str) -> None:
    """Put another word into the line of a code cell that assigns to a name, as a reader would."""
    line = (
        page.locator(".jp-CodeCell")
        .nth(cell)
        .locator(".cm-line", has_text=re.compile(f"^{name} = "))
    )
    line.locator("span", has_text=old).dblclick()
    page.keyboard.type(new)
    assert f'{name} = "{new}"' in line.inner_text()


def too_wide(page) -> list[str]:
    """What must be scrolled sideways: outputs, prose, code, or the notebook itself."""
    return page.evaluate(
        """() => {
            const parts = '.jp-OutputArea-output, .jp-MarkdownOutput, .cm-scroller, '
                + '.jp-WindowedPanel-outer, .jp-Notebook';
            return [...document.querySelectorAll(parts)]
                .filter(one => one.scrollWidth > one.clientWidth + 1)
                .map(one => `${one.scrollWidth} px in ${one.clientWidth} px, `
                    + `${one.className}: ${one.textContent.slice(0, 80)}`);
        }"""
    )


def pictures(page) -> list[dict]:
    """The pictures among the outputs: width as drawn, as shown, and of the space for it, px."""
    return page.evaluate(
        """() => [...document.querySelectorAll('.jp-OutputArea-output img')].map(one => ({
            natural: one.naturalWidth,
            shown: one.getBoundingClientRect().width,
            room: one.closest('.jp-OutputArea-output').clientWidth,
        }))"""
    )
