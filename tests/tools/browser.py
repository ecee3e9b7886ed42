"""Opens a player page in headless Chromium, watches it play, and prints what it saw as one JSON object.

    browser.py URL [--seconds S] [--deadline S] [--play NAME] [--unmute] [--screenshot FILE] ...

Ends as soon as the picture has advanced by --seconds, or at the deadline; the caller judges. The JSON has
`samples` (each: page time, currentTime, state, decoded, dropped), `advanced`, `errors` (of mpegts.js),
`console` (errors on the console), `page_errors` (uncaught exceptions), `message`, `state` and `stats`.
"""

import argparse
import json
import sys
import tempfile
import time

from playwright.sync_api import sync_playwright

CHROMIUM_ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

SAMPLE = """() => {
  const video = document.querySelector('video');
  const quality = video.getVideoPlaybackQuality();
  return {
    at: performance.now() / 1000,
    currentTime: video.currentTime,
    state: window.pingoraLive ? window.pingoraLive.state : null,
    decoded: quality.totalVideoFrames,
    dropped: quality.droppedVideoFrames,
  };
}"""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--seconds", type=float, default=4, help="how far currentTime must advance")
    parser.add_argument("--deadline", type=float, default=30)
    parser.add_argument("--play", help="type this name into the box and press Enter")
    parser.add_argument("--recording", help="move to the recording of this name by the keyboard and press Enter")
    parser.add_argument("--unmute", action="store_true", help="press the button that turns the sound on")
    parser.add_argument("--until-state", help="stop as soon as the page is in this state, instead of playing on")
    parser.add_argument("--screenshot")
    parser.add_argument("--width", type=int, default=1000)
    parser.add_argument("--height", type=int, default=1100)
    parser.add_argument("--dark", action="store_true")
    args = parser.parse_args()

    console, page_errors = [], []
    with tempfile.TemporaryDirectory(prefix="pingora-live-chromium-") as profile, sync_playwright() as p:
        context = p.chromium.launch_persistent_context(
            profile,
            executable_path=args.chromium,
            args=CHROMIUM_ARGS,
            viewport={"width": args.width, "height": args.height},
            color_scheme="dark" if args.dark else "light",
            ignore_https_errors=True,
        )
        try:
            page = context.new_page()
            page.on("console", lambda m: m.type == "error" and console.append(m.text))
            page.on("pageerror", lambda e: page_errors.append(str(e)))
            page.goto(args.url)
            if args.play:
                page.fill("#stream", args.play)
                page.press("#stream", "Enter")
            if args.recording:
                page.get_by_role("button", name=args.recording, exact=True).wait_for()
                for _ in range(40):
                    page.keyboard.press("Tab")
                    if page.evaluate("() => document.activeElement.textContent") == args.recording:
                        break
                page.keyboard.press("Enter")
            samples, pressed = [], False
            deadline = time.monotonic() + args.deadline
            first = None
            while time.monotonic() < deadline:
                sample = page.evaluate(SAMPLE)
                samples.append(sample)
                if args.until_state:
                    if sample["state"] == args.until_state:
                        break
                elif sample["state"] == "playing":
                    if args.unmute and not pressed:
                        page.click("#unmute")
                        pressed = True
                    first = sample["currentTime"] if first is None else first
                    if sample["currentTime"] - first >= args.seconds:
                        break
                page.wait_for_timeout(250)
            if args.screenshot:
                page.screenshot(path=args.screenshot)
            seen = page.evaluate("() => window.pingoraLive")
            result = {
                "samples": samples,
                "advanced": 0 if first is None else samples[-1]["currentTime"] - first,
                "errors": seen["errors"],
                "retries": seen["retries"],
                "state": seen["state"],
                "message": seen["message"],
                "stats": seen["stats"],
                "muted": page.evaluate("() => document.querySelector('video').muted"),
                "console": console,
                "page_errors": page_errors,
            }
        finally:
            context.close()
    json.dump(result, sys.stdout)
    print()


if __name__ == "__main__":
    main()
