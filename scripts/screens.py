"""Photograph every page of the control room for the documentation: two languages, light and dark, two sizes, as WebP.

A finished demo with a claim, and a run that goes on in a process of its own and waits for a person, are shown. Needs Chromium.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from jayul.project import keep
from jayul.project.run import Options, execute

ROOT = Path(__file__).parents[1]
SCREENS = ROOT / "docs" / "screens"
CHROMIUM = "/usr/bin/chromium"
SIZES = {"small": (1366, 768), "large": (2560, 1440)}
LOOKS = [(language, scheme, size) for language in ("en", "ko") for scheme in ("light", "dark") for size in SIZES]
QUALITY = 0.5
MOST = 200_000  # bytes of a picture
NAME, PASSWORD = "Kim Minji", "a password for pictures"
DEMO, LIVE = "/r/tennessee-eastman", "/r/tank"
STEPS = ("understood", "tags", "name", "check")
PAGES: dict[str, tuple[str, str, str]] = {  # name: route; address; or what a link on that page holds, which is followed
    "projects": ("/", "/", ""),
    "now": ("/r/{run}/now", f"{LIVE}/now", ""),
    "now-well": ("/r/{run}/now", f"{DEMO}/now", ""),
    "now-replay": ("/r/{run}/now", f"{DEMO}/now?tick=10210", ""),
    "trends": ("/r/{run}/trends", f"{DEMO}/trends?tags=operating_cost,reactor_pressure,reactor_level&last=all", ""),
    "trends-live": ("/r/{run}/trends", f"{LIVE}/trends", ""),
    "alarms": ("/r/{run}/alarms", f"{LIVE}/alarms", ""),
    "alarm": ("/r/{run}/alarms/one/{alarm:path}", f"{LIVE}/alarms", "/alarms/one/"),
    "moves": ("/r/{run}/moves", f"{LIVE}/moves", ""),
    "move": ("/r/{run}/moves/{first:int}-{last:int}", f"{DEMO}/moves?answer=refused", "?policy="),
    "evidence": ("/r/{run}/evidence", f"{DEMO}/evidence", ""),
    "coverage": ("/r/{run}/evidence/tag/{tag:path}", f"{DEMO}/evidence", "/evidence/tag/"),
    "audit": ("/r/{run}/audit", f"{DEMO}/audit", ""),
    "report": ("/r/{run}/report", f"{DEMO}/report", ""),
    "claim": ("/r/{run}/claims/{claim}", f"{DEMO}/evidence", "/claims/"),
    "missing": ("/r/{run}", "/r/nothing/now", ""),
    "new": ("/new", "/new", ""),
    **{f"new-{step}": ("/new/{draft}/{step}", "", "") for step in STEPS},
    "signin": ("/signin", "", ""),
}
CHANGES = {  # of the tank's template: it climbs within minutes, and stays where a person is asked
    "ticks = 60": "ticks = 5",
    "proposals = 10": "proposals = 3",
    'begin = "3 h"': 'begin = "1 ms"',
    "simulated = true ": "simulated = false",
    'commit = "group"': 'commit = "tick"',
}
BEFORE, QUICK, CALM, SLOW = (
    600,
    0.01,
    0.2,
    4.0,
)  # ticks before somebody signs; s a tick until then, until a move is on the table, and after
WATCH = """[[model]]
kind = "formula"
name = "watch"
formula = { "tank 1 warm" = "TIC1.PV > 55.4 [degC]", "tank 1 low" = "LIC1.PV < 49.75 [%]" }

"""
ROWS = "\n".join(f"2026-03-02 {6 + i // 60:02d}:{i % 60:02d},{180 + i / 10:.1f},{42 - i / 100:.2f}" for i in range(240))
ENCODE = """async ([png, quality]) => {
  const image = await createImageBitmap(await (await fetch("data:image/png;base64," + png)).blob());
  const canvas = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
  canvas.getContext("2d").drawImage(image, 0, 0);
  return canvas.toDataURL("image/webp", quality).split(",")[1];
}"""


class Scene:
    """A folder with the runs that are shown, as a person would have it: `~/plant`."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "plant"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.calm = home / "calm"  # is there once a move is on the table
        self.environment = os.environ | {
            "HOME": str(home), "JAYUL_KEYS": str(home / ".keys"), "PYTHONPATH": str(ROOT / "src"), "JAYUL_LANG": "en",
        }  # fmt: skip

    def run(self, *words: object, text: str | None = None) -> str:
        """Run a command of Jayul to its end; return what it said."""
        line = [sys.executable, "-m", "jayul", *map(str, words)]
        done = subprocess.run(
            line, cwd=self.folder, env=self.environment, capture_output=True, text=True, input=text, check=False
        )
        if done.returncode:
            sys.exit(f"{' '.join(line)}\n{done.stdout}{done.stderr}")
        return done.stdout

    @contextlib.contextmanager
    def started(self, *words: object, wait: str = "") -> Iterator[str]:
        """Start a program in Python; give what it says of a pattern, if one is waited for, and end it afterwards."""
        line = [sys.executable, *map(str, words)]
        with subprocess.Popen(
            line, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                lines = process.stdout if wait and process.stdout else ()
                yield next((found[0] for text in lines if (found := re.search(wait, text))), "")
            finally:
                process.kill()

    def make(self) -> None:
        """Make what is shown: the finished demo with its claim, an account, the project that is run."""
        demo = self.folder / "runs" / "tennessee-eastman"
        if not (demo / "claims").exists():
            self.run("demo", "tennessee-eastman")
            self.run("claim", demo.relative_to(self.folder))
        said = self.run("ui", "add", NAME, "--role", "engineer", "--password-stdin", text=PASSWORD + "\n")
        person = (
            said[said.index("[[people.person]]") :]
            .split("\n\n")[0]
            .split("\nNext")[0]
            .replace('["engineer"]', '["engineer", "operator"]')
        )
        self.run("init", "tank", "tank") if not (self.folder / "tank").exists() else None
        path = self.folder / "tank" / "jayul.toml"
        text = (ROOT / "src/jayul/project/templates/tank/jayul.toml").read_text(encoding="utf-8").format(name="tank")
        for old, new in CHANGES.items():
            text = text.replace(old, new)
        path.write_text(
            text.replace("[kpi]", person + "\n\n[kpi]", 1).replace("[[model]]", WATCH + "[[model]]", 1), encoding="utf-8"
        )

    @contextlib.contextmanager
    def alive(self) -> Iterator[str]:
        """Let a run and the control room go on; give its address."""
        shutil.rmtree(self.folder / "runs" / "tank", ignore_errors=True)
        self.calm.unlink(missing_ok=True)
        with (
            self.started(__file__, "--live", self.calm),
            self.started("-m", "jayul", "ui", "--port", "0", wait=r"http://\S+") as url,
        ):
            yield url


def live(calm: Path) -> None:
    """Run the tank at a pace at which it can be looked at: this is the process of its own."""

    def pace(tick: int, *_: object) -> None:
        time.sleep(SLOW if calm.exists() else QUICK if tick < BEFORE else CALM)

    keep.TICKS = 1  # samples are judged at every tick, as those of a plant on a wire are
    execute(Path("tank"), Path("runs/tank"), Options(progress=pace))


def climb(page: Any, url: str) -> None:
    """Sign for each level as it is asked for, until a move is on the table."""
    ended = time.monotonic() + 300
    while time.monotonic() < ended:
        page.goto(f"{url}{LIVE}/now")
        page.wait_for_timeout(2000)
        if int(re.findall(r"Tick (\d+)", page.inner_text("main"))[0]) < BEFORE:
            continue
        asked = page.locator("form.decide[action$='/sign']")
        if asked.count():
            asked.locator("input[name=reason]").fill("the tests of this level are passed")
            asked.locator("button.act").click()
        elif page.locator("form.decide[action$='/approve']").count():
            page.goto(f"{url}{LIVE}/alarms")
            page.goto(url + page.locator("main a[href*='/alarms/one/']").first.get_attribute("href"))
            page.locator("main form input[name=reason]").first.fill("seen at the tank: the sun is on it")
            page.click("main .acts button[value=acknowledge]")
            return
    sys.exit("no move came onto the table within five minutes")


def enter(page: Any, url: str) -> None:
    """Sign in."""
    page.goto(f"{url}/signin")
    page.fill("[name=name]", NAME)
    page.fill("[name=password]", PASSWORD)
    page.click("main button")
    page.wait_for_url(f"{url}/")


def walk(page: Any, url: str, wanted: Container[str]) -> Iterator[str]:
    """Open one page after the other; say which is open."""
    for name, (_, address, link) in PAGES.items():
        if not address or name not in wanted:
            continue
        page.goto(url + address)
        if link:
            page.goto(url + page.locator(f"main a[href*='{link}']").first.get_attribute("href"))
        if name.startswith("trends"):
            page.wait_for_selector("#trends:not(.loading) #panes canvas")
        yield name
    if any(f"new-{step}" in wanted for step in STEPS):
        page.goto(f"{url}/new")
        file = {"name": "dryer.csv", "mimeType": "text/csv", "buffer": f"at,TIC10.PV,FI10.PV\n{ROWS}\n".encode()}
        page.set_input_files("input[type=file][name=file]", file)
        page.click("form[action='/new/file'] button")
        for step in STEPS:
            if step != STEPS[0]:
                page.locator("main form button[value=next]").click()
            yield f"new-{step}"
    if "signin" in wanted:
        page.context.clear_cookies()
        page.goto(f"{url}/signin")
        yield "signin"


def main() -> int:
    """Take the pictures; say how large they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scene", type=Path, help="a folder for what is shown; the finished demo in it is used again")
    parser.add_argument("--to", type=Path, default=SCREENS)
    parser.add_argument("--only", nargs="*", help="pages, if not all")
    parser.add_argument("--png", action="store_true", help="PNG instead of WebP, to look at")
    parser.add_argument("--live", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.live:
        live(given.live)
        return 0
    from playwright.sync_api import sync_playwright

    sizes: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        home = given.scene or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        scene = Scene(home.resolve())
        scene.make()
        url = stack.enter_context(scene.alive())
        chromium = stack.enter_context(sync_playwright()).chromium
        browsers = {
            language: chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], env=os.environ | {"LANGUAGE": language})
            for language in ("en", "ko")
        }
        first = browsers["en"].new_context(locale="en")
        enter(page := first.new_page(), url)
        climb(page, url)
        scene.calm.touch()
        for language, scheme, size in LOOKS:
            width, height = SIZES[size]
            context = browsers[language].new_context(
                storage_state=first.storage_state(), locale=language, color_scheme=scheme, reduced_motion="reduce",
                viewport={"width": width, "height": height},
            )  # fmt: skip
            page, encoder = context.new_page(), context.new_page()
            for name in walk(page, url, given.only or PAGES):
                page.wait_for_timeout(400)
                png = page.screenshot()
                path = given.to / f"{name}.{language}.{scheme}.{size}.{'png' if given.png else 'webp'}"
                encoded = encoder.evaluate(ENCODE, [base64.b64encode(png).decode(), QUALITY])
                path.write_bytes(png if given.png else base64.b64decode(encoded))
                sizes[path.name] = path.stat().st_size
            context.close()
    largest = max(sizes, key=lambda name: sizes[name])
    print(f"{len(sizes)} pictures, {sum(sizes.values()) / 1e6:.1f} MB; the largest: {largest}, {sizes[largest] / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
