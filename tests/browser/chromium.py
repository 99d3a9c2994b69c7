"""A page in the machine's own Chromium, headless, driven by Playwright (which downloads no browser here)."""

import contextlib
import shutil

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --no-proxy-server"
).split()


@contextlib.contextmanager
def chromium(folder, *, width=1500, height=950, scheme="dark", script="", timeout_s=60):
    """A page with a new profile in `folder`.  `page.seen`: its exceptions and dialogs; `page.said`: errors on its console;
    `page.asked`: addresses it asked for.

    script: JavaScript that runs before any page's own.
    """
    from playwright.sync_api import sync_playwright

    binary = shutil.which("chromium")
    assert binary, "these tests need Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            folder / "profile", executable_path=binary, headless=True, args=FLAGS,
            viewport={"width": width, "height": height}, color_scheme=scheme,
        )  # fmt: skip
        try:
            if script:
                context.add_init_script(script)
            page = context.pages[0] if context.pages else context.new_page()
            page.set_default_timeout(1000 * timeout_s)
            page.seen, page.said, page.asked = [], [], []
            page.on("pageerror", lambda error: page.seen.append(str(error)))
            page.on("console", lambda said: page.said.append(said.text) if said.type == "error" else None)
            page.on("dialog", lambda dialog: (page.seen.append(f"dialog: {dialog.message}"), dialog.dismiss()))
            page.on("request", lambda request: page.asked.append(request.url))
            yield page
        finally:
            context.close()
