"""Uses the console in headless Chromium as a person does, and prints what was seen as one JSON object.

    console.py URL [--width W] [--height H] [--dark] [--deadline S] STEP...

Steps, done in order; each that waits fails at the deadline:

    wait:NAME       until a row of the streams is named so
    open:NAME       moves to that row's link by the Tab key and presses Enter; until the stream's page is shown
    play:SECONDS    until the picture has advanced by that much
    kick:TEXT       moves to the button that disconnects the client whose row holds TEXT, presses it, sees that the question has its
                    focus on Cancel, answers yes by the keyboard; until that row is gone
    view:NAME       opens streams, clients, nodes, recordings or configuration by the keyboard
    token:TEXT      waits for the form, types the token and presses Enter
    password:U:P    the same with user and password
    says:TEXT       until the page shows that text
    press:LABEL     presses the button of that name
    answer:LABEL    presses the button of that name in the question
    type:ID:TEXT    moves to that field by the Tab key and types the text in the place of what is there
    enter:          presses Enter
    hash:HASH       goes to that view as an address does
    seconds:S       looks on for that long

The JSON has for each step what was seen after it: `text` of the page, `focus` (of the active element), `overflow` (pixels that the
page is wider than the window), and for the whole visit `console` and `page_errors`, `dialogs` (of scripts), `foreign` (elements that
the page's own code never makes), `requests` (paths asked of the page's own server), `columns` (left edges of the row's cells at all looks).
"""

import argparse
import json
import sys
import tempfile
import time
from urllib.parse import urlsplit

from playwright.sync_api import sync_playwright

from browser import CHROMIUM_ARGS

LOOK = """() => {
  const active = document.activeElement;
  const box = active.getBoundingClientRect();
  return {
    text: document.querySelector('main').innerText,
    title: document.title,
    focus: active === document.body ? '' : (active.getAttribute('aria-label') || active.textContent || active.id).trim(),
    focus_visible: active.matches(':focus-visible') && getComputedStyle(active).outlineStyle !== 'none',
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    names: [...document.querySelectorAll('#stream-rows td.c-name a')].map((link) => link.textContent),
    rows: [...document.querySelectorAll('#stream-rows tr')].map((row) => row.innerText),
    foreign: document.querySelectorAll('main img, main iframe, main object, main embed, main script, main style').length,
    state: window.pingoraConsole.state,
    rounds: window.pingoraConsole.rounds,
  };
}"""

EDGES = """() => [...document.querySelectorAll('#stream-rows tr')].slice(0, 1).flatMap((row) =>
  [...row.cells].map((cell) => Math.round(cell.getBoundingClientRect().left)))"""


def tab_to(page, selector_js, argument, presses=200):
    """Presses Tab until the active element is the wanted one."""
    for _ in range(presses):
        page.keyboard.press("Tab")
        if page.evaluate(selector_js, argument):
            return
    raise SystemExit(f"the Tab key does not reach {argument!r}")


class Visit:
    def __init__(self, page, deadline):
        self.page = page
        self.deadline = deadline
        self.steps = []

    def until(self, expression, argument=None):
        self.page.wait_for_function(expression, arg=argument, timeout=self.deadline * 1000)

    def do(self, step):
        kind, _, argument = step.partition(":")
        getattr(self, f"do_{kind}")(argument)
        self.steps.append({"step": step, **self.page.evaluate(LOOK)})

    def do_wait(self, name):
        self.until("(name) => [...document.querySelectorAll('#stream-rows td.c-name a')].some((a) => a.textContent === name)", name)

    def do_open(self, name):
        self.do_wait(name)
        tab_to(self.page, "(name) => document.activeElement.matches('td.c-name a') && document.activeElement.textContent === name", name)
        self.page.keyboard.press("Enter")
        self.until("(name) => document.getElementById('stream-title').textContent === name", name)
        self.until("() => document.activeElement.id === 'stream-title'")

    def do_play(self, seconds):
        self.until("() => document.querySelector('video').currentTime > 0 && !document.querySelector('video').paused")
        first = self.page.evaluate("() => document.querySelector('video').currentTime")
        self.until("(to) => document.querySelector('video').currentTime >= to", first + float(seconds))

    def do_kick(self, text):
        self.page.locator("tr:visible", has_text=text).locator("button").first.wait_for(timeout=self.deadline * 1000)
        tab_to(self.page, "(text) => document.activeElement.matches('.c-act button') && document.activeElement.closest('tr').innerText.includes(text)", text)
        self.page.keyboard.press("Enter")
        self.until("() => document.getElementById('confirm').open && document.activeElement.id === 'confirm-no'")
        self.page.keyboard.press("Tab")
        self.page.keyboard.press("Enter")
        self.until("(text) => ![...document.querySelectorAll('tr')].some((row) => row.querySelector('.c-act') && row.innerText.includes(text))", text)

    def do_view(self, name):
        tab_to(self.page, "(name) => document.activeElement.dataset.view === name", name)
        self.page.keyboard.press("Enter")
        self.until("(name) => !document.getElementById(`view-${name}`).hidden", name)
        before = self.page.evaluate("() => window.pingoraConsole.rounds")
        self.until("(before) => window.pingoraConsole.rounds > before + 1", before)

    def do_token(self, token):
        self.page.locator("#token").wait_for(timeout=self.deadline * 1000)
        self.page.fill("#token", token)
        self.page.press("#token", "Enter")

    def do_password(self, pair):
        user, _, password = pair.partition(":")
        self.page.locator("#user").wait_for(timeout=self.deadline * 1000)
        self.page.fill("#user", user)
        self.page.fill("#password", password)
        self.page.press("#password", "Enter")

    def do_says(self, text):
        self.until("(text) => document.body.innerText.includes(text)", text)

    def do_press(self, label):
        self.page.get_by_role("button", name=label, exact=True).click(timeout=self.deadline * 1000)

    def do_answer(self, label):
        self.page.locator("dialog").get_by_role("button", name=label, exact=True).click(timeout=self.deadline * 1000)

    def do_type(self, pair):
        field, _, text = pair.partition(":")
        tab_to(self.page, "(id) => document.activeElement.id === id", field)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(text)

    def do_enter(self, _):
        self.page.keyboard.press("Enter")

    def do_hash(self, value):
        self.page.evaluate("(value) => { location.hash = value; }", value)

    def do_seconds(self, seconds):
        self.page.wait_for_timeout(float(seconds) * 1000)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("steps", nargs="*")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--deadline", type=float, default=45)
    parser.add_argument("--width", type=int, default=1100)
    parser.add_argument("--height", type=int, default=900)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--screenshot")
    args = parser.parse_intermixed_args()

    console, page_errors, dialogs, requests, columns = [], [], [], [], []
    failed = None
    with tempfile.TemporaryDirectory(prefix="pingora-live-chromium-") as profile, sync_playwright() as p:
        context = p.chromium.launch_persistent_context(
            profile,
            executable_path=args.chromium,
            args=CHROMIUM_ARGS,
            viewport={"width": args.width, "height": args.height},
            color_scheme="dark" if args.dark else "light",
        )
        try:
            page = context.new_page()
            page.on("console", lambda m: m.type == "error" and console.append(m.text))
            page.on("pageerror", lambda e: page_errors.append(str(e)))
            page.on("dialog", lambda d: (dialogs.append(d.message), d.dismiss()))
            host = urlsplit(args.url).netloc
            page.on("request", lambda r: urlsplit(r.url).netloc == host and requests.append(f"{r.method} {urlsplit(r.url).path}"))
            page.goto(args.url)
            visit = Visit(page, args.deadline)
            try:
                for step in args.steps:
                    visit.do(step)
                    edges = page.evaluate(EDGES)
                    if edges and edges[0] > 0 and edges not in columns:
                        columns.append(edges)
            except Exception as error:  # shown with all that was seen before
                failed = f"{step}: {error}"
                visit.steps.append({"step": step, **page.evaluate(LOOK)})
            if args.screenshot:
                page.screenshot(path=args.screenshot, full_page=True)
        finally:
            context.close()
    json.dump(
        {
            "failed": failed,
            "steps": visit.steps,
            "console": console,
            "page_errors": page_errors,
            "dialogs": dialogs,
            "requests": sorted(set(requests)),
            "columns": columns,
        },
        sys.stdout,
    )
    print()


if __name__ == "__main__":
    main()
