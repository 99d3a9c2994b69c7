"""The report in a real browser: it opens without an error or a request, fits the window, and prints whole."""

import pytest

from curate.report import build_report
from curate.report.html import write_html
from tests.browser.chromium import Chromium
from tests.test_report import GATES, HOSTILE, jpeg, material

pytestmark = pytest.mark.slow

IDS = [*HOSTILE, *(f"photos/holiday/{i:04d}.jpg" for i in range(80))]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    return write_html(build_report(material(IDS, gates=GATES)), path, jpeg).as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Chromium(tmp_path_factory.mktemp("profile")) as chromium:
        yield chromium


@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_opens_without_errors_or_requests_and_fits(browser, url, width, scheme, tmp_path):
    browser.open(url, width, scheme=scheme)
    assert browser.errors() == []
    assert [u for u in browser.requests() if not u.startswith(("file:", "data:", "blob:", "about:"))] == []
    assert browser.run("document.documentElement.scrollWidth") <= width
    red, green, blue = browser.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")[:3]
    assert (red + green + blue > 600) == (scheme == "light")
    assert browser.run("[...document.images].every(i => i.loading === 'lazy' && i.src.startsWith('data:image/jpeg'))")
    browser.picture(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000


def test_names_make_no_elements(browser, url):
    browser.open(url, 1400)
    assert browser.run("document.querySelectorAll('svg[onload], img[onerror], [onclick]').length") == 0
    assert browser.run("document.title").startswith("</script><img src=x onerror=alert(1)>.jpg")
    assert not [e for e in browser.events if e["method"] == "Page.javascriptDialogOpening"]


def test_the_map_is_drawn_and_its_colours_change(browser, url):
    browser.open(url, 1400)
    drawn = "document.querySelectorAll('#plot .scatterlayer .point').length"
    assert browser.run(drawn) == len(IDS)
    assert browser.run("document.getElementById('colour').options.length") == 1
    text = browser.run("document.querySelector('#plot .legend').textContent")
    assert "other" in text and browser.run("document.querySelectorAll('#plot script, #plot img').length") == 0


def test_what_is_folded_unfolds(browser, url):
    browser.open(url, 1400)
    assert browser.run("document.querySelectorAll('details.rest').length") >= 1
    assert browser.run("(d => { d.querySelector('summary').click(); return d.open })(document.querySelector('details.rest'))")


def test_prints_to_several_pages(browser, url):
    browser.open(url, 1000)
    pdf = browser.pdf()
    assert pdf.startswith(b"%PDF") and pdf.count(b"/Type /Page") > 3
