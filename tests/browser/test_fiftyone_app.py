"""The plugin in the real App, in a real browser, as a user clicks: find, cut, apply, undo; lasso; sample; the native panels.

Screenshots go to artefacts/fiftyone/.  With CURATE_SCREENSHOTS=1 those of the walk-through (examples/fiftyone_app.md) are made
anew.
"""

import contextlib
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from playwright.sync_api import TimeoutError

from tests.browser.fiftyone_app import ROOT, App, browser, environment, mongod
from tests.browser.pictures import TAXONOMY

# The App reloads datasets and panels when it likes, also between a look and a click: a journey may be tried three times.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.flaky(reruns=2)]

SHOTS = ROOT / "artefacts/fiftyone"
WALK = ROOT / "examples/images"
THEIRS = ("entry is loading", "_hoverlayer", "_zoomlayer")
"""Errors of the App itself: its sidebar while a dataset is reloaded, and its plot when it is drawn anew below the mouse."""
NAMES = ("find", "lasso", "choose", "native", "tags")
TRIED = Counter()


def ran(env, folder, *command):
    done = subprocess.run([str(c) for c in command], env=env, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{command}: {done.stdout[-1500:]}{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A database with a dataset for each journey; the plugin installed as users do."""
    folder = tmp_path_factory.mktemp("app")
    with mongod(folder) as uri:
        env = environment(folder, uri)
        curate = (sys.executable, "-m", "curate")
        ran(env, folder, *curate, "fiftyone", "install")
        made = f"from tests.browser.pictures import *\nfor n in {NAMES}: dataset(n, Path('images'), 3)"
        ran(env, folder, sys.executable, "-c", made)
        (folder / "tags.yaml").write_text(TAXONOMY)
        yield folder, env


def fresh(world, name):
    """A dataset of a journey; another one when the journey is tried again."""
    folder, env = world
    TRIED[name] += 1
    if TRIED[name] == 1:
        return name
    again = f"{name}{TRIED[name]}"
    made = f"from tests.browser.pictures import *\ndataset({again!r}, Path({again!r}), 3)"
    ran(env, folder, sys.executable, "-c", made)
    return again


def synced(world, name):
    """Syncs a dataset on the command line, with the store where the App looks for it; writes nothing to it."""
    folder, env = world
    store = folder / "home/.curate/fiftyone" / env["FIFTYONE_DATABASE_NAME"]
    options = ("--dataset", f"fiftyone:{name}", "--model", "pixels", "--store", store, "--dry-run", "-q")
    ran(env, folder, sys.executable, "-m", "curate", "sync", *options)
    return store


@pytest.fixture
def app(world):
    """A server of its own for each test: the App keeps views and open panels in the server."""
    with App(*world) as running:
        yield running


@pytest.fixture
def page(tmp_path, request):
    with browser(tmp_path) as opened:
        yield opened
        shot(opened, f"last-{request.node.name}-{getattr(request.node, 'execution_count', 1)}")
        assert [e for e in opened.seen if not any(known in e for known in THEIRS)] == [], "errors in the page"


def shot(page, name):
    """A picture of the page for the eye; of the walk-through also the committed one, with few colours to stay small."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png")
    if os.environ.get("CURATE_SCREENSHOTS") and name.startswith("walk-"):
        from PIL import Image

        WALK.mkdir(exist_ok=True)
        small = Image.open(SHOTS / f"{name}.png").convert("RGB").quantize(160)
        small.save(WALK / f"fiftyone-{name.removeprefix('walk-')}.png", optimize=True)


def opened(page, app, name):
    """The Curate panel beside the grid of a dataset."""
    grid = page.locator('[data-cy="looker"]').first
    for _ in range(4):  # an App that has just started may go back to its list of datasets
        page.goto(f"{app.url}/datasets/{name}", wait_until="domcontentloaded")
        with contextlib.suppress(TimeoutError):
            grid.wait_for(timeout=40_000)
            break
    page.click('[data-cy="new-panel-btn"]')
    page.click('[data-cy="new-panel-option-curate_panel"]')
    panel = page.locator('[data-cy="panel-content-curate_panel"]')
    panel.get_by_role("tab", name="Overview").wait_for()
    return panel


def tab(panel, name):
    panel.get_by_role("tab", name=name).click()


def press(panel, name):
    panel.get_by_role("button", name=name).first.click()


def typed(place):
    """The text fields of a form."""
    return place.locator("input.MuiInputBase-input:not([type=checkbox]):not([aria-hidden])")


def shown(page, count):
    """Waits until the grid says that it shows so many samples."""
    page.wait_for_function(
        "n => document.querySelector('[data-cy=\"entry-counts\"]')?.innerText.replaceAll(',', '').startsWith(`${n} sample`)",
        arg=count,
    )


def unfolded(page, field, value):
    """Opens a field of the sidebar and looks for a value in its list; again when the App folds it, as it does at a reload."""
    chooser = page.locator(f'[data-cy="selector-sidebar-search-{field}"]')
    for _ in range(5):
        if not chooser.count():
            page.locator(f'[data-cy="sidebar-field-arrow-enabled-{field}"]').click()
            page.wait_for_timeout(3_000)
        if chooser.count():
            chooser.first.click()
            page.wait_for_timeout(2_000)
            if page.get_by_text(value, exact=True).count():
                shot(page, "sidebar")
                page.keyboard.press("Escape")
                return
    shot(page, "sidebar")
    raise AssertionError(f"{value} is not in the sidebar; see {SHOTS / 'sidebar.png'}")


def in_database(world, code):
    """What an expression over `d`, the dataset, is in another process."""
    folder, env = world
    name, expression = code
    return ran(
        env, folder, sys.executable, "-c", f"import fiftyone as fo; d = fo.load_dataset({name!r}); print({expression})"
    ).strip()


def nothing_cut_off(page, panel):
    """No button or text of the panel reaches out of it."""
    outside = panel.evaluate(
        """root => [...root.querySelectorAll('button, p, td, th, h1, h2, h3, .MuiTypography-root')]
            .filter(e => e.getBoundingClientRect().width)
            .filter(e => !e.closest('.MuiTableContainer-root, .MuiSlider-root, .js-plotly-plot'))
            .filter(e => e.getBoundingClientRect().right > root.getBoundingClientRect().right + 1)
            .map(e => e.innerText)"""
    )
    assert outside == []


def test_find_cut_apply_see_the_tag_and_undo(world, app, page):
    name = fresh(world, "find")
    panel = opened(page, app, name)
    panel.get_by_text("Nothing is stored for this dataset yet").wait_for()
    shot(page, "walk-start")
    press(panel, "Sync")
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Nothing is written to the dataset").wait_for()
    typed(dialog).first.fill("pixels")
    shot(page, "sync-form")
    dialog.get_by_role("button", name="Execute").first.click()
    panel.get_by_text("What is stored").wait_for(timeout=240_000)
    page.keyboard.press("Escape")
    shot(page, "walk-overview")
    nothing_cut_off(page, panel)

    tab(panel, "Duplicates")
    panel.get_by_text("copies would go").wait_for()
    count = int(re.search(r"(\d+)\s*copies would go", panel.inner_text())[1])
    assert count > 10
    page.wait_for_timeout(1500)
    shot(page, "walk-duplicates")
    nothing_cut_off(page, panel)
    slider = panel.locator(".MuiSlider-root").nth(1).bounding_box()
    page.mouse.click(slider["x"] + 2, slider["y"] + slider["height"] / 2)
    panel.get_by_text("Distance at most").wait_for()
    strict = int(re.search(r"(\d+)\s*copies would go", panel.inner_text())[1])
    assert 0 < strict < count
    for place in (slider["width"] / 2, slider["width"] / 5, slider["width"] - 1):  # moved before the answer to the last move
        page.mouse.click(slider["x"] + place, slider["y"] + slider["height"] / 2)
        page.wait_for_timeout(300)
    panel.get_by_text("Distance: any").wait_for()
    page.wait_for_timeout(3000)
    assert panel.get_by_text("Distance: any").count() == 1
    assert int(re.search(r"(\d+)\s*copies would go", panel.inner_text())[1]) == count

    press(panel, "Review changes")
    panel.get_by_text("Review before anything is written").wait_for()
    page.wait_for_timeout(500)
    shot(page, "walk-plan")
    nothing_cut_off(page, panel)
    assert in_database(world, (name, "d.count_sample_tags()")) == "{}"
    press(panel, "Apply")
    panel.get_by_text("values written").wait_for()
    assert in_database(world, (name, "d.count_sample_tags()")) == str({"curate:duplicate": count})
    page.locator('[data-cy="sidebar-group-entry-CURATE"]').first.wait_for()
    page.wait_for_timeout(1500)
    shot(page, "walk-applied")
    unfolded(page, "tags", "curate:duplicate")

    press(panel, "Undo")
    panel.get_by_text("values restored").wait_for()
    assert in_database(world, (name, "d.count_sample_tags()")) == "{}"
    assert in_database(world, (name, "d.has_field('curate')")) == "False"
    shot(page, "undone")


def test_a_lasso_on_the_map_fills_the_grid(world, app, page):
    name = fresh(world, "lasso")
    synced(world, name)
    panel = opened(page, app, name)
    shown(page, 48)
    plot = panel.locator(".js-plotly-plot .nsewdrag").first
    told = panel.get_by_text("samples selected; they are in the grid")
    for _ in range(6):  # a reload of the App shuts the tab; a drag that begins while the plot is drawn anew selects nothing
        tab(panel, "Map")
        plot.wait_for()
        page.wait_for_timeout(3000)
        box = plot.bounding_box()
        if box is None:
            continue
        corners = [(0.02, 0.02), (0.6, 0.02), (0.6, 0.98), (0.02, 0.98), (0.02, 0.02)]
        spots = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in corners]
        page.mouse.move(*spots[0])
        page.mouse.down()
        for spot in spots[1:]:
            page.mouse.move(*spot, steps=8)
        page.mouse.up()
        page.wait_for_timeout(8000)
        if told.count():
            break
    told.wait_for()
    count = int(re.search(r"(\d+) samples selected", panel.inner_text())[1])
    assert 0 < count < 48
    shown(page, count)
    page.wait_for_timeout(1500)
    shot(page, "walk-map")
    nothing_cut_off(page, panel)
    panel.get_by_role("combobox").first.click()
    page.get_by_role("option", name="duplicate").click()
    panel.locator(".legendtext", has_text="copy").first.wait_for()
    page.wait_for_timeout(1500)
    shot(page, "map-duplicates")
    assert set(panel.locator(".legendtext").all_text_contents()) == {"kept", "copy"}, "nothing of the other colouring is left"
    press(panel, "All samples")
    shown(page, 48)


def test_a_sample_goes_into_the_grid_and_is_applied(world, app, page):
    name = fresh(world, "choose")
    synced(world, name)
    panel = opened(page, app, name)
    for other in ("Map", "Duplicates", "Tags", "Sample"):  # pressed before the answer to the one before
        tab(panel, other)
    typed(panel).first.fill("6")
    press(panel, "Choose")
    panel.get_by_text("Coverage: samples are").wait_for()
    shown(page, 6)
    page.wait_for_timeout(1500)
    shot(page, "walk-sample")
    nothing_cut_off(page, panel)
    asked = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/operators/execute") else None)
    page.wait_for_timeout(3000)
    assert asked == [], "the panel is at rest when nobody touches it"
    press(panel, "Review changes")
    panel.get_by_text("Review before").wait_for()
    press(panel, "Apply")
    panel.get_by_text("values written").wait_for()
    assert in_database(world, (name, "d.count_sample_tags()")) == "{'curate:sample': 6}"


def test_native_embeddings_and_similarity_search_work_on_our_runs(world, app, page):
    name = fresh(world, "native")
    synced(world, name)
    panel = opened(page, app, name)
    panel.get_by_text("What is stored").wait_for()
    press(panel, "Review all changes")
    panel.get_by_text("Review before").wait_for()
    panel.get_by_text("similarity search").wait_for()
    shot(page, "plan-all")
    press(panel, "Apply")
    panel.get_by_text("48 vectors written").wait_for()
    assert in_database(world, (name, "d.list_brain_runs()")) == "['curate_sim', 'curate_viz']"

    page.locator('[data-cy="panel-tab-curate_panel"]').hover()
    page.locator('[data-cy="panel-tab-curate_panel"] [data-cy*="close"]').or_(
        page.locator('[data-cy="panel-tab-curate_panel"] svg').last
    ).first.click()
    page.wait_for_timeout(1000)
    first = page.locator('[data-cy="looker"]').first
    first.hover()
    first.locator('[data-cy="looker-checkbox-"], input[type=checkbox]').first.click(force=True)
    page.locator('[data-cy="action-sort-by-similarity"]').click()
    page.get_by_role("button", name="Show similar samples").or_(page.get_by_text("Show similar samples")).first.click()
    page.get_by_text("Completed").first.wait_for(timeout=120_000)
    page.wait_for_timeout(1500)
    shot(page, "native-similarity")

    page.mouse.move(700, 600)
    page.keyboard.press("Escape")
    page.locator('[data-cy="new-panel-btn"]').last.click()
    page.locator('[data-cy="new-panel-option-Embeddings"]').click()
    embeddings = page.locator('[data-cy="panel-content-Embeddings"]')
    embeddings.wait_for()
    embeddings.get_by_text("curate_viz").first.click()
    embeddings.get_by_text("48 points").wait_for()
    page.wait_for_timeout(1500)
    shot(page, "native-embeddings")


def test_a_click_on_a_tag_shows_its_samples(world, app, page):
    folder, env = world
    name = fresh(world, "tags")
    store = synced(world, name)
    options = ("--dataset", f"fiftyone:{name}", "--taxonomy", "tags.yaml", "--labels", "kind", "--store", store)
    ran(env, folder, sys.executable, "-m", "curate", "tag", *options)
    panel = opened(page, app, name)
    tab(panel, "Tags")
    row = panel.get_by_role("row").filter(has_text="sky")
    row.wait_for()
    count = int(row.get_by_role("cell").nth(1).inner_text())
    row.click()
    shown(page, count)
    page.wait_for_timeout(1500)
    shot(page, "walk-tags")
    nothing_cut_off(page, panel)


def test_the_app_says_what_is_missing_without_the_package(world, page, tmp_path):
    """The plugin's folder in an environment where `curate` cannot be imported."""
    folder, env = world
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    for name in ("curate", "connectors"):
        (blocked / f"{name}.py").write_text(f"raise ModuleNotFoundError(\"No module named '{name}'\", name='{name}')\n")
    with App(folder, env | {"PYTHONPATH": f"{blocked}"}) as app:
        page.goto(f"{app.url}/datasets/tags", wait_until="domcontentloaded")
        page.wait_for_selector('[data-cy="looker"]')
        page.click('[data-cy="new-panel-btn"]')
        page.click('[data-cy="new-panel-option-curate_panel"]')
        panel = page.locator('[data-cy="panel-content-curate_panel"]')
        panel.get_by_text("Curate cannot start").wait_for()
        panel.get_by_text("pip install").wait_for()
        shot(page, "missing")


def test_the_pictures_of_the_walk_through_are_there_and_small():
    text = (ROOT / "examples/fiftyone_app.md").read_text()
    named = set(re.findall(r"\(images/(fiftyone-[a-z]+\.png)\)", text))
    assert named == {p.name for p in Path(WALK).glob("fiftyone-*.png")}
    assert all((WALK / name).stat().st_size < 300_000 for name in named)
