"""A reader in headless Chromium: every link, tab, filter and button, and the numbers against the record."""

from __future__ import annotations

import shutil

import pytest

import sample_records as sample
from epsball.reporting import write_report

FLAGS = (
    "headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
    "disable-component-update", "disable-sync", "disable-dev-shm-usage", "force-prefers-reduced-motion", "window-size=1280,900",
)  # fmt: skip
pytestmark = pytest.mark.browser
_BEYOND = """
const wide = document.documentElement.clientWidth, found = [];
if (document.documentElement.scrollWidth > wide) found.push(`page: ${document.documentElement.scrollWidth} of ${wide}`);
for (const element of document.querySelectorAll("main *")) {
  const box = element.getBoundingClientRect();
  if (!box.width || element.closest(".scroll, pre, code, svg, [role=tablist], .sr")) continue;
  if (box.right > wide + 1) found.push(`${element.tagName}.${element.className} : ${box.right}`);
}
for (const svg of document.querySelectorAll("main svg[role=img]")) {
  const outer = svg.getBoundingClientRect();
  if (!outer.width) continue;
  for (const text of svg.querySelectorAll("text")) {
    const box = text.getBoundingClientRect();
    if (box.left < outer.left - 2 || box.right > outer.right + 2 || box.top < outer.top - 2 || box.bottom > outer.bottom + 2)
      found.push(`${text.textContent} leaves ${svg.getAttribute("aria-label").slice(0, 40)}`);
  }
}
return found;
"""
_HINTS = """
const done = arguments[0], state = (box) => [box.scrollWidth > box.clientWidth + 1, box.classList.contains("more")];
requestAnimationFrame(() => setTimeout(() => done([...document.querySelectorAll(".scroll")].map(state)), 50));
"""


@pytest.fixture
def browser(tmp_path):
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (*FLAGS, f"user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def _find(browser, css):
    return browser.find_elements("css selector", css)


def _messages(browser) -> list[dict]:
    return [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def test_a_reader_clicks_through_it(browser, tmp_path):
    runs = sample.demo(tmp_path, 400)
    browser.get(write_report(runs, tmp_path / "report.html").as_uri())
    for link in _find(browser, "nav a"):
        link.click()
        ident = link.get_attribute("hash")[1:]
        assert browser.execute_script("return location.hash.slice(1)") == ident
        assert _find(browser, f"#{ident}")[0].is_displayed()
    summary = sample.last(runs[2], "summary")
    _headline(browser, summary["accuracy"])
    _tabs(browser)
    _table(browser, summary)
    _row(browser)
    images = _find(browser, "#gallery img")
    assert [browser.execute_script("return arguments[0].naturalWidth", image) for image in images] == [28] * 18
    _find(browser, "#missing summary")[0].click()
    for button in _find(browser, "button.copy"):
        button.click()
        assert browser.execute_script("return arguments[0].dataset.copy", button).startswith("epsball ")
    for size in ((1280, 3000), (420, 900)):
        browser.set_window_size(*size)
        beyond = browser.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert beyond <= 0, size
        assert browser.save_screenshot(str(tmp_path / f"report-{size[0]}.png"))
    assert _messages(browser) == []


def _headline(browser, accuracy) -> None:
    shown = [e.text for e in _find(browser, "#headline-run-3 .value data")]
    verified, attacked = accuracy["verified"]["value"], accuracy["attacked"]["value"]
    assert shown == [f"{100 * v:.2f}" for v in (verified, attacked - verified, attacked)]


def _tabs(browser) -> None:
    from selenium.webdriver.common.keys import Keys

    tabs = _find(browser, "[role=tab]")
    assert [tab.text for tab in tabs] == ["verify", "attack"]
    for tab in tabs:
        tab.click()
        panels = {panel.get_attribute("id"): panel.is_displayed() for panel in _find(browser, "#accuracy .panel")}
        assert [ident for ident, seen in panels.items() if seen] == [tab.get_attribute("aria-controls")]
    tabs[1].send_keys(Keys.ARROW_LEFT)
    assert browser.switch_to.active_element == tabs[0]
    assert tabs[0].get_attribute("aria-selected") == "true"


def _rows(browser):
    return _find(browser, ".instances tbody tr.row")


def _table(browser, summary) -> None:
    assert len(_rows(browser)) == 20
    for chip in _find(browser, ".filters [data-status]")[1:]:
        name, count = chip.text.split()
        assert int(count) == summary["status"][name]
        chip.click()
        assert {row.find_elements("css selector", "td")[2].text for row in _rows(browser)} == {name}
        assert _find(browser, ".pager span")[0].text.endswith(f"of {count}")
        assert chip.get_attribute("aria-pressed") == "true"
    _find(browser, ".filters [data-status]")[0].click()
    header = _find(browser, ".instances thead button")[5]
    header.click()
    header.click()
    margins = [float(row.find_elements("css selector", "td")[4].text) for row in _rows(browser)]
    assert len(margins) == 20
    assert margins == sorted(margins, reverse=True)
    _find(browser, ".pager button")[1].click()
    assert _find(browser, ".pager span")[0].text == "21–40 of 400"


def _row(browser) -> None:
    index = _find(browser, "#gallery .witness")[0].get_attribute("id").rsplit("-", 1)[1]
    _find(browser, ".filters input")[0].send_keys(index)
    (row,) = _rows(browser)
    row.click()
    (details,) = _find(browser, ".instances tr.details")
    assert "falsified by attack" in details.text
    button = _rows(browser)[0].find_element("css selector", "button")
    assert button.get_attribute("aria-expanded") == "true"
    assert browser.switch_to.active_element == button
    details.find_element("css selector", "a").click()
    assert browser.execute_script("return location.hash").endswith(f"-{index}")


def test_an_attack_in_a_record_does_not_run(browser, tmp_path):
    browser.get(write_report(sample.poisoned(tmp_path), tmp_path / "report.html").as_uri())
    clicked = 0
    for css in ("[role=tab]", ".instances tbody button", ".filters [data-status]"):
        for position in range(len(_find(browser, css))):
            _find(browser, css)[position].click()
            clicked += 1
    assert clicked > 20
    assert browser.execute_script("return window.evil") is None
    assert _messages(browser) == []


def test_nothing_is_wider_than_the_screen_from_a_phone_to_a_desk(browser, tmp_path):
    runs = [sample.write(tmp_path / name, *lines()) for name, lines in sample.RUNS.items()]
    browser.get(write_report(runs, tmp_path / "report.html").as_uri())
    browser.execute_script("document.querySelectorAll('.panel[hidden]').forEach(panel => { panel.hidden = false; })")
    assert browser.execute_script("return document.querySelectorAll('main svg[role=img] text').length") > 100
    found, shown = {}, {}
    for width in (360, 768, 1280, 1920):
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        assert browser.execute_script("return innerWidth") == width
        found[width] = browser.execute_script(_BEYOND)
        shown[width] = browser.execute_async_script(_HINTS)
        assert all(wide == told for wide, told in shown[width])
    assert found == {360: [], 768: [], 1280: [], 1920: []}
    assert any(wide for wide, _ in shown[360])
    plant = "document.querySelector('main').insertAdjacentHTML('beforeend', '<p style=\"width: 2000px\">x</p>');"
    moved = "document.querySelector('main svg[role=img] text').setAttribute('transform', 'translate(900 0)');"
    browser.execute_script(plant + moved)
    assert len(browser.execute_script(_BEYOND)) >= 3  # the page, the paragraph, the text
