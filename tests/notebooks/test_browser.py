"""The notebooks as a reader meets them: `make lab`, in a browser window of 1280 × 800.

They are opened as committed, with the outputs of a whole run, and run in a small copy, on drawn
pictures and the bundled backbone; pictures of what was seen are left in build/screens/.
"""

import json
import re
import shutil
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import nbformat
import pytest

from mobilenet import BUILD, ROOT
from mobilenet.figures import canvas
from tests.helpers import browser
from tests.helpers.copies import NOTEBOOKS, code_cells, copy_small

pytestmark = pytest.mark.browser

FIRST = min(NOTEBOOKS)
TUNING = "04_fine_tuning"
WINDOW = {"width": 1280, "height": 800}
LOOPBACK = {"0100007F", "0" * 24 + "01000000"}  # 127.0.0.1 and ::1
SCREENS = BUILD / "screens"
PICTURES = ".jp-OutputArea-output img"
KNOBS = 1  # among the code cells
COMMITTED = "as_committed"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A small copy whose notebooks hold no outputs, so that those seen are new; COMMITTED holds
    the notebooks as they are.
    """
    copy = copy_small(tmp_path_factory.mktemp("browser"), deep=True)
    shutil.copytree(ROOT / "notebooks", copy / COMMITTED)
    for name in NOTEBOOKS:
        path = copy / "notebooks" / f"{name}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        for cell in code_cells(notebook):
            cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, path)
    return copy


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return browser.make_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def address(project, home):
    """Where the lab says it is, token and all."""
    with browser.lab(project, home) as printed:
        yield printed


@pytest.fixture(scope="module")
def chromium():
    with browser.chromium() as program:
        yield program


@pytest.fixture
def page(chromium, address):
    """An empty page; at the end its kernel is stopped, and nothing was asked of other machines."""
    context = chromium.new_context(viewport=WINDOW)
    context.set_default_timeout(60_000)
    asked = []
    context.on("request", lambda request: asked.append(urlsplit(request.url)))
    try:
        yield context.new_page()
        away = {url.netloc for url in asked if url.scheme.startswith(("http", "ws"))}
        assert away <= {urlsplit(address).netloc}
        assert not [url.path for url in asked if url.path in ("/lab/api/news", "/lab/api/update")]
    finally:
        context.close()
        with ask(address, "/api/sessions") as answer:
            running = json.load(answer)
        for session in running:
            ask(address, f"/api/sessions/{session['id']}", method="DELETE").close()


def ask(address: str, path: str, token: bool = True, method: str = "GET"):
    """The server's answer, with the token of its address or without; past any proxy."""
    parts = urlsplit(address)
    request = Request(f"http://{parts.netloc}{path}", method=method)
    if token:
        (secret,) = parse_qs(parts.query)["token"]
        request.add_header("Authorization", f"token {secret}")
    return build_opener(ProxyHandler({})).open(request, timeout=30)


# --- The server ---


@pytest.mark.skipif(not Path("/proc/net/tcp").is_file(), reason="needs Linux's list of sockets")
def test_the_lab_serves_this_machine_alone(address):
    parts = urlsplit(address)
    assert parts.hostname in ("localhost", "127.0.0.1")
    assert parts.path == f"/lab/tree/notebooks/{FIRST}.ipynb"
    found = browser.listening(parts.port)
    assert found
    assert found <= LOOPBACK


@pytest.mark.parametrize("path", ["/api/contents", "/api/kernels", "/api/terminals"])
def test_who_has_no_token_is_refused(address, path):
    with pytest.raises(HTTPError) as refused:
        ask(address, path, token=False).close()
    assert refused.value.code == 403
    with ask(address, path) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("path", ["/lab", "/files/utils.py"])
def test_who_has_no_token_gets_no_page(address, path):
    with ask(address, path, token=False) as answer:
        assert urlsplit(answer.url).path == "/login"


def test_two_labs_get_different_ports(address, project, home):
    with browser.lab(project, home) as other:
        assert urlsplit(other).port != urlsplit(address).port
        assert urlsplit(other).query != urlsplit(address).query, "they share a token"
        for one in (address, other):
            with ask(one, "/api/contents") as answer:
                assert answer.status == 200


# --- The notebooks ---


def open_and_run(page, address: str, project: Path, name: str) -> list:
    """Run all cells of a notebook; its code cells as the browser saved them."""
    path = project / "notebooks" / f"{name}.ipynb"
    cells = nbformat.read(path, as_version=4).cells
    count = len([cell for cell in cells if cell.cell_type == "code"])
    browser.open_notebook(page, address.replace(FIRST, name), len(cells))
    browser.menu(page, "Run", "Run All Cells")
    browser.wait_until_run(page, {i: i + 1 for i in range(count)})
    browser.check_no_errors(page)
    browser.wait_for_pictures(page)
    browser.save(page)
    return code_cells(nbformat.read(path, as_version=4))


def alt_texts(cells: list) -> list[str]:
    """The alt text of every picture among these cells' outputs, in their order."""
    return [
        output.metadata[kind]["alt"]
        for cell in cells
        for output in cell.outputs
        for kind in output.get("data", {})
        if kind.startswith("image/")
    ]


def keep_screens(page, name: str) -> None:
    """Leave the page and each of its pictures in build/screens/, in place of older ones."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    for old in SCREENS.glob(f"{name}-*.png"):
        old.unlink()
    for i, picture in enumerate(page.locator(PICTURES).all(), start=1):
        picture.screenshot(path=SCREENS / f"{name}-{i:02}.png")
        if i == 1:
            page.screenshot(path=SCREENS / f"{name}-page.png")


@pytest.mark.parametrize("name", sorted(NOTEBOOKS))
def test_the_pictures_and_tables_of_a_whole_run_are_seen(name, page, address):
    notebook = nbformat.read(NOTEBOOKS[name], as_version=4)
    place = address.replace(f"notebooks/{FIRST}", f"{COMMITTED}/{name}")
    browser.open_notebook(page, place, len(notebook.cells))
    browser.check_no_errors(page)
    browser.wait_for_pictures(page)
    check_seen(page, code_cells(notebook))
    keep_screens(page, name)


@pytest.mark.parametrize("name", sorted(set(NOTEBOOKS) - {TUNING}))
def test_a_notebook_runs_and_its_pictures_are_seen(name, page, address, project):
    check_seen(page, open_and_run(page, address, project, name))


def check_seen(page, cells: list) -> None:
    """The notebook ran once, from top to bottom, and what it drew is seen in full."""
    assert page.locator(".jp-Dialog").count() == 0
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert browser.too_wide(page) == []
    shown = browser.pictures(page)
    assert all(picture["shown"] <= picture["room"] for picture in shown)
    # JupyterLab puts no alt text on an output's picture: it is in the file, for what does.
    told = alt_texts(cells)
    assert len(told) == len(shown) > 0
    assert all(alt.strip() for alt in told)
    drawings = page.locator(".jp-MarkdownOutput img").all()
    assert all(drawing.get_attribute("alt") for drawing in drawings)
    small = [  # and with it the text of 9 points
        f"{one['natural']} px wide, shown in {one['shown']:.0f} px: {alt}"
        for one, alt in zip(browser.pictures(page), told, strict=True)
        if one["shown"] < one["natural"] / canvas.SHARP - 1
    ]
    assert not small, "\n".join(small)


def test_notebook_4_runs_and_a_knob_turned_and_run_twice_is_one_more_row(page, address, project):
    """As it says: after a new cut, its knobs and then the cells from *Fine-tune* on."""
    shutil.rmtree(project / "build" / "log", ignore_errors=True)
    cells = open_and_run(page, address, project, TUNING)
    check_seen(page, cells)
    tune = next(
        i for i, cell in enumerate(cells) if "build_top(network, CUT, head, DROP" in cell.source
    )
    table = next(i for i, cell in enumerate(cells) if "utils.show_runs(" in cell.source)
    browser.turn(page, KNOBS, "CUT", "block_13_expand", "block_12_expand")
    done = len(cells)
    for _ in range(2):
        browser.select(page, KNOBS)
        page.keyboard.press("Control+Enter")
        browser.select(page, tune)
        browser.menu(page, "Run", "Run Selected Cell and All Below")
        below = range(tune, len(cells))
        browser.wait_until_run(page, {KNOBS: done + 1} | {i: done + 2 + i - tune for i in below})
        done += 1 + len(below)
    browser.check_no_errors(page)
    rows = page.locator(".jp-CodeCell").nth(table).locator("tbody tr").all_inner_texts()
    assert [re.findall(r"block_\d+_expand", row) for row in rows] == [
        ["block_12_expand"],
        ["block_13_expand"],
    ]
    files = (project / "build" / "log").glob(f"{TUNING}-*.json")
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    times = {run["knobs"]["CUT"]: run["times"] for run in runs}
    assert len(runs) == 2
    assert times == {"block_12_expand": 2, "block_13_expand": 1}
