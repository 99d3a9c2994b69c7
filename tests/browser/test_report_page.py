"""The report in a real browser: it opens without an error or a request, fits the window, and prints whole."""

import pytest

from curate.report import build_report
from curate.report.html import write_html
from tests.browser.chromium import chromium
from tests.test_report import GATES, HOSTILE, jpeg, material

pytestmark = pytest.mark.slow

IDS = [*HOSTILE, *(f"photos/holiday/{i:04d}.jpg" for i in range(80))]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    return write_html(build_report(material(IDS, gates=GATES)), path, jpeg).as_uri()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("browser")) as page:
        yield page


def show(page, url, width, scheme="light"):
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    for heard in (page.seen, page.said, page.asked):
        heard.clear()
    page.goto(url)


@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_opens_without_errors_or_requests_and_fits(page, url, width, scheme):
    show(page, url, width, scheme)
    assert page.seen == page.said == []
    assert [u for u in page.asked if not u.startswith(("file:", "data:", "blob:", "about:"))] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    red, green, blue = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")[:3]
    assert (red + green + blue > 600) == (scheme == "light")
    assert page.evaluate("[...document.images].every(i => i.loading === 'lazy' && i.src.startsWith('data:image/jpeg'))")
    assert len(page.screenshot()) > 10_000


def test_names_make_no_elements(page, url):
    show(page, url, 1400)
    assert page.evaluate("document.querySelectorAll('svg[onload], img[onerror], [onclick]').length") == 0
    assert page.title().startswith("</script><img src=x onerror=alert(1)>.jpg")
    assert page.seen == page.said == []


def test_the_map_is_drawn_and_its_colours_change(page, url):
    show(page, url, 1400)
    assert page.locator("#plot .scatterlayer .point").count() == len(IDS)
    assert page.evaluate("document.getElementById('colour').options.length") == 1
    text = page.locator("#plot .legend").text_content()
    assert "other" in text and page.locator("#plot script, #plot img").count() == 0


def test_what_is_folded_unfolds(page, url):
    show(page, url, 1400)
    assert page.evaluate("document.querySelectorAll('details.rest').length") >= 1
    assert page.evaluate("(d => { d.querySelector('summary').click(); return d.open })(document.querySelector('details.rest'))")


def test_prints_to_several_pages(page, url):
    show(page, url, 1000)
    pdf = page.pdf(print_background=True)
    assert pdf.startswith(b"%PDF") and pdf.count(b"/Type /Page") > 3
