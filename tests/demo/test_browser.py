"""The demo as people meet it: the command's server, and a real browser that uses it in both languages."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from demo.sample_model import save_tiny_model
from evaluation.small import emoji_samples, write_emoji

DEMO = Path(__file__).parents[2] / "tools/demo.py"
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
OPTIONS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
#: Runs first in the server's process: notes every machine it looks up or connects to, but itself.
WATCH = """
import os, sys
def note(event, args):
    if event in ("socket.connect", "socket.sendto"):
        host = args[1][0] if isinstance(args[1], tuple) else ""
    elif event == "socket.getaddrinfo":
        host = args[0] or ""
    else:
        return
    host = host.decode() if isinstance(host, bytes) else str(host)
    if host and host not in ("127.0.0.1", "::1", "localhost"):
        with open(os.environ["VL_TEST_CONTACTS"], "a") as file:
            file.write(f"{event} {host}\\n")
sys.addaudithook(note)
"""
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Address, log and the file of contacts of a running demo."""
    folder = tmp_path_factory.mktemp("server")
    write_emoji(folder / "shards", "emoji", 20)
    (folder / "sitecustomize.py").write_text(WATCH)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "VL_TEST_CONTACTS": str(folder / "contacts"),
        "GRADIO_TEMP_DIR": str(folder / "uploads"),
        "HTTP_PROXY": "http://192.0.2.1:9",  # reaches nothing: calling itself must not go there
    }
    command = [sys.executable, DEMO, "--checkpoint", save_tiny_model(folder / "model"), "--port", str(port)]
    with open(folder / "log", "w+") as log:
        demo = subprocess.Popen(
            [*map(str, command), "--gallery", str(folder / "shards"), "--quick"],
            env=environment,
            stdout=log,
            stderr=log,
        )
        try:
            deadline = time.monotonic() + 240
            while "The demo runs on" not in (folder / "log").read_text():
                assert demo.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/", folder / "log", folder / "contacts"
        finally:
            demo.terminate()
            demo.wait(20)


@pytest.fixture
def page(server, chromium_path):
    """A page of the demo; its console, its errors and every address it asked for must be clean at the end."""
    from playwright.sync_api import sync_playwright

    complaints, asked = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=OPTIONS)
        page = browser.new_page(viewport={"width": 1280, "height": 860}, locale="en-GB")
        page.set_default_timeout(60_000)
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.on("websocket", lambda sockets: asked.append(sockets.url))
        page.on("response", lambda response: complaints.append(response.url) if response.status >= 400 else None)
        page.goto(server[0])
        yield page
        browser.close()
    assert complaints == []
    assert len(asked) > 10
    assert [url for url in asked if not url.startswith((server[0], "data:", "blob:"))] == []


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def write(page, name, text):
    page.get_by_role("textbox", name=name).fill(text)


def speak(page, language):
    page.get_by_role("radio", name=language).click()


def test_both_functions_in_both_languages(page, server, tmp_path):
    key, picture, names = list(emoji_samples(8))[-1]
    good, bad = tmp_path / f"{key}.png", tmp_path / "bad.png"
    good.write_bytes(picture)
    bad.write_bytes(picture[: len(picture) // 2])
    chart, found = page.locator("#chart"), page.locator("#found")
    first = found.locator("figure").first

    # Name a picture, in English and in Chinese.
    page.locator("input[type=file]").first.set_input_files(good)
    page.locator("img[src*='file=']").first.wait_for()
    write(page, "Labels", "cat, <b>dog</b>")
    press(page, "What is it?")
    chart.get_by_text(re.compile(r"\d+%")).nth(1).wait_for()
    assert "<b>dog</b>" in chart.inner_text()
    page.screenshot(path=tmp_path / "1-named.png")
    speak(page, "中文")
    page.get_by_text("识别图片").first.wait_for()
    assert page.evaluate("document.documentElement.lang") == "zh"
    write(page, "标签", "猫，狗、汽车")
    press(page, "这是什么？")
    chart.get_by_text("汽车").first.wait_for()
    page.get_by_text("此模型的词表缺少").wait_for()  # CLIP's vocabulary has no Chinese words
    assert sum(int(share) for share in re.findall(r"(\d+)%", chart.inner_text())) in range(98, 103)
    page.screenshot(path=tmp_path / "2-named-zh.png")

    # Search by words, in Chinese and in English.
    page.get_by_role("tab", name="搜索图库").click()
    assert found.locator("figure").count() == 12
    write(page, "想找什么？", "笑脸 <script>document.title='x'</script> ${1+1}")
    press(page, "以文搜图")
    found.get_by_text("${1+1}").wait_for()
    page.screenshot(path=tmp_path / "3-searched-zh.png")
    speak(page, "English")
    found.get_by_text("Closest first").wait_for()
    write(page, "What are you looking for?", "a watch")
    press(page, "Search by words")
    found.get_by_text("a watch").wait_for()
    page.screenshot(path=tmp_path / "4-searched.png")

    # Search by picture, in English and in Chinese, after one that is broken.
    upload = page.locator("input[type=file]").last
    upload.set_input_files(bad)
    page.locator("img[src*='bad.png']").wait_for(state="attached")
    press(page, "Search by picture")
    page.get_by_text("This picture cannot be read.").wait_for()
    page.screenshot(path=tmp_path / "5-refused.png")
    page.get_by_role("button", name="Remove Image").last.click()
    page.locator("input[type=file]").last.set_input_files(good)
    page.locator(f"img[src*='{key}.png']").last.wait_for()
    press(page, "Search by picture")
    found.get_by_text("Closest to your picture").wait_for()
    assert first.inner_text().split() == ["1.000", *names["en"].split()]
    speak(page, "中文")
    found.get_by_text("与你的图片").wait_for()
    page.get_by_role("button", name="以图搜图", exact=True).wait_for()
    assert names["zh"] in first.inner_text()
    page.screenshot(path=tmp_path / "6-picture-zh.png")

    assert page.title() == "VL"
    _, log, contacts = server
    assert "Traceback" not in log.read_text()
    assert not contacts.exists(), contacts.read_text()
