"""The notebooks in a real JupyterLab in a real browser: they run, and moving a slider changes what is shown.

HMDB_BROWSER names a Chromium; without it these tests skip. `.ci/run` installs one.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest
from helpers.made_results import write_results
from playwright.sync_api import sync_playwright

from hmdb_lib.environment import ROOT
from hmdb_lib.studies.report import write_report
from hmdb_lib.widgets.views import NO_DEAD_WIDGETS

pytestmark = [pytest.mark.slow, pytest.mark.browser]
# Chromium's own calls home, which would fail as page errors where there is no network.
QUIET = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
CAMERA = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]  # which moves and beeps
SETTINGS = {
    "notebook-extension/tracker": '{"windowingMode": "none"}',  # every cell in the page, seen or not
    "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
}


@pytest.fixture(scope="module")
def browser():
    program = os.environ.get("HMDB_BROWSER")
    if not program:
        pytest.skip("HMDB_BROWSER names no Chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*QUIET, *CAMERA])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def lab(full_sample, tmp_path_factory):
    """The address of a JupyterLab over a copy of the notebooks, each with quick = True; two runs have begun there."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "notebooks").mkdir()
    (folder / "data").mkdir()
    (folder / "data" / "sample").symlink_to(full_sample)
    for row, loss in {"baseline": 1.0, "cross1_self1": 2.0}.items():
        file = folder / "results" / "runs" / row / "hmdb51-split1-seed0" / "metrics.csv"
        file.parent.mkdir(parents=True)
        file.write_text(f"epoch,train_video_loss,val_video_loss\n0,{loss},{2 * loss}\n1,{loss / 2},{loss}\n")
    shutil.copytree(ROOT / "results" / "figures", folder / "results" / "figures")  # which the Markdown cells show
    (folder / "hmdb_lib").symlink_to(ROOT / "hmdb_lib")
    for file in (ROOT / "notebooks").glob("*.ipynb"):
        (folder / "notebooks" / file.name).write_text(file.read_text().replace("quick = False", "quick = True"))
    for name, text in SETTINGS.items():
        file = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"HMDB_DATA": folder / "data", "HMDB_RESULTS": folder / "results", "PYTHONPATH": ROOT}
    own |= {"JUPYTERLAB_SETTINGS_DIR": folder / "settings", "JUPYTER_CONFIG_DIR": folder / "config"}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    options = [f"--ServerApp.root_dir={folder}", "--IdentityProvider.token="]
    with (folder / "log.txt").open("w") as log:
        environment = os.environ | {name: str(value) for name, value in own.items()}
        server = subprocess.Popen([*command, *options], env=environment, stdout=log, stderr=log)
        try:
            wait_for(f"http://127.0.0.1:{port}/api", server, folder / "log.txt")
            yield f"http://127.0.0.1:{port}/lab/tree/notebooks"
        finally:
            server.terminate()
            server.wait()


def wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    for _ in range(300):
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address):
                return
        except OSError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.2)
    raise TimeoutError(log.read_text())


class Opened:
    """A notebook in the browser, run from top to bottom."""

    def __init__(self, page, address):
        self.page, self.errors = page, []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on(
            "console",
            lambda message: message.type == "error" and self.errors.append(f"{message.text} {message.location}"),
        )
        # The badges come from the web.
        page.route(
            re.compile("^https://"),
            lambda route: route.fulfill(body="<svg xmlns='http://www.w3.org/2000/svg'/>", content_type="image/svg+xml"),
        )
        page.goto(address)
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=60_000)
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=60_000)
        page.locator(".jp-Notebook").click(position={"x": 5, "y": 5})
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        page.wait_for_function(
            """() => {
                const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(p => p.innerText)
                return prompts.length && prompts.every(text => /\\[\\d+\\]/.test(text))
            }""",
            timeout=240_000,
        )

    def cell(self, text):
        """The cell whose code holds `text`."""
        return self.page.locator(".jp-CodeCell").filter(has_text=text)

    def wait_for_change(self, place, before):
        """Until the text of `place` is another than `before`."""
        for _ in range(300):
            if place.inner_text() != before:
                return
            time.sleep(0.1)
        raise AssertionError("nothing changed")

    def failures(self):
        """Errors of the page, of its console and of the notebook."""
        written = self.page.locator("[data-mime-type='application/vnd.jupyter.stderr']").all_inner_texts()
        return self.errors + written


@pytest.fixture
def opened(browser, lab):
    page = browser.new_page(viewport={"width": 1400, "height": 1200}, service_workers="block")
    yield lambda name: Opened(page, f"{lab}/{name}.ipynb?reset")
    page.close()


@pytest.mark.parametrize("width", [1400, 380])
def test_a_report_fits_the_screen_and_asks_for_nothing(browser, width, tmp_path, monkeypatch):
    monkeypatch.setenv("HMDB_RESULTS", str(tmp_path))
    write_results(tmp_path)
    page = browser.new_page(viewport={"width": width, "height": 900})
    asked, errors = [], []
    page.on("request", lambda request: request.url.startswith(("file:", "data:")) or asked.append(request.url))
    page.on("console", lambda message: message.type == "error" and errors.append(message.text))
    page.goto(write_report("depth-tiny-frozen").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert asked == errors == []
    page.close()


@pytest.mark.parametrize(("inner", "alive"), [("Loading widget...", False), ("<div>a slider</div>", True)])
def test_a_dead_widget_is_hidden_where_its_picture_stays(browser, inner, alive):
    page = browser.new_page()
    page.set_content(
        f"<div class='jp-OutputArea-child'><div></div><div id='widget'>{inner}</div></div>"
        f"<div class='jp-OutputArea-child'><div></div><div>{NO_DEAD_WIDGETS}<div class='still'>kept</div></div></div>"
    )
    assert page.locator("#widget").is_visible() == alive
    assert page.locator(".still").is_visible()
    page.close()


def test_the_first_notebook_trains_without_an_error_on_the_page(opened):
    notebook = opened("00_start_here")
    assert notebook.cell("hl.train(").locator("img").count() == 1
    assert notebook.failures() == []


def test_moving_a_slider_changes_the_models_table(opened):
    notebook = opened("03_model_tour")
    sizer = notebook.cell("hl.widgets.views.model_sizer()")
    before = sizer.locator("table").first.inner_text()
    sizer.get_by_role("slider").first.focus()
    notebook.page.keyboard.press("ArrowLeft")
    notebook.wait_for_change(sizer.locator("table").first, before)
    assert notebook.failures() == []


def test_choosing_other_runs_changes_the_curves(opened):
    notebook = opened("10_overfitting_curves")
    comparer = notebook.cell("hl.widgets.views.run_comparer()")
    both = comparer.locator("img").first.get_attribute("src")
    assert comparer.locator("option").count() >= 2
    comparer.locator("option").first.click()
    comparer.locator(f"img:not([src='{both}'])").first.wait_for(timeout=30_000)
    assert notebook.failures() == []


def test_the_webcam_is_answered_again_and_again_until_it_is_stopped(opened):
    notebook = opened("14_predict")
    view = notebook.cell("hl.widgets.tryout.try_out(classifier")
    before = view.locator("img").first.get_attribute("src")
    view.get_by_text("start the webcam").click()
    third = re.compile(r"answer ([3-9]|\d\d+): ")  # the third itself may be gone before the page is looked at
    view.get_by_text(third).wait_for(timeout=180_000)  # of a busy machine
    view.get_by_text("stop the webcam").click()
    view.get_by_text("the webcam's last clip").first.wait_for(timeout=60_000)
    assert view.locator("img").first.get_attribute("src") != before
    assert notebook.failures() == []


def test_a_click_on_the_matrix_and_another_frame_change_what_is_shown(opened):
    notebook = opened("12_errors_and_attention")
    player, attention = (
        notebook.cell(f"hl.widgets.explore.{name}(") for name in ("confusion_player", "attention_viewer")
    )
    told = player.locator("p").first
    before = told.inner_text()
    player.locator("td").first.click()
    notebook.wait_for_change(told, before)
    assert re.search(r"(\w+) taken for \1: ", told.inner_text())
    shown = attention.locator("img").first.get_attribute("src")
    slider = attention.get_by_role("slider").first
    is_first = float(slider.get_attribute("aria-valuenow")) == 0
    slider.focus()
    notebook.page.keyboard.press("ArrowRight" if is_first else "ArrowLeft")
    attention.locator(f"img:not([src='{shown}'])").first.wait_for(timeout=30_000)
    assert notebook.failures() == []
