"""The page of the demo, in Gradio: it speaks English or Chinese and asks nothing of any other machine."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

from vl.demo.answers import MAX_CHARACTERS, NUM_HITS, Answers, Refusal
from vl.demo.gallery import MAX_BYTES, THUMBNAIL, Hit
from vl.demo.words import DROP, LANGUAGES, WORDS, Speech

if TYPE_CHECKING:
    import gradio

#: What the shown pictures answer: the key of their title, what was typed, and the pictures.
Asked = tuple[str, str, list[Hit]]
#: Only the page calls its functions.
_PRIVATE: dict[str, Any] = {"api_visibility": "private"}
_FONTS = ("system-ui", "Segoe UI", "Noto Sans", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "sans-serif")
_STYLE = """
.gradio-container { width: 100%; max-width: 1120px !important; margin: 0 auto !important; }
#title h1 { margin: 8px 0 4px; font-size: 28px; font-weight: 650; letter-spacing: -0.01em; }
#title p, .quiet p { color: #64748b; margin: 0; }
.found p { color: #64748b; margin: 4px 0 12px; overflow-wrap: anywhere; }
.found div { display: grid; grid-template-columns: repeat(auto-fill, minmax(136px, 1fr)); gap: 12px; }
.found figure { margin: 0; padding: 8px; border: 1px solid #e2e8f0; border-radius: 12px; background: #fff; }
.found img { width: 100%; aspect-ratio: 1; object-fit: cover; border-radius: 6px; display: block; margin: 0; }
.found figcaption { margin-top: 6px; font-size: 13px; line-height: 1.4; color: #1c2330; overflow-wrap: anywhere;
  overflow: hidden; display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3; }
.found b { display: block; color: #0f766e; font-weight: 600; font-variant-numeric: tabular-nums; }
.toast-title { display: none; }
"""


def serve(answers: Answers, port: int | None = None, language: str = "en") -> None:
    """Show the page on 127.0.0.1 until interrupted; without a port, on the first free one from 7860.

    Raises:
        OSError: the port is taken.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"  # Gradio calls itself as it starts
    import gradio as gr

    page = build(answers, language)
    theme = gr.themes.Default(primary_hue="teal", neutral_hue="slate", font=_FONTS, font_mono="monospace")
    _, address, _ = page.launch(
        server_name="127.0.0.1",
        server_port=port,
        theme=theme.set(
            button_primary_background_fill="*primary_700", button_primary_background_fill_hover="*primary_800"
        ),
        css=_STYLE,
        max_file_size=MAX_BYTES,
        footer_links=[],
        run_history=False,
        share=False,
        ssr_mode=False,
        prevent_thread_lock=True,
        quiet=True,
    )
    print(f"The demo runs on {address} (Ctrl-C ends it)", flush=True)
    page.block_thread()


def build(answers: Answers, language: str = "en") -> gradio.Blocks:
    """The page; `language` is the one it opens in."""
    import gradio as gr

    speech = Speech(language)
    with gr.Blocks(title="VL", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        with gr.Row(equal_height=True):
            with gr.Column(scale=4, elem_id="title"):
                speech.say(gr.Markdown, value="title")
            with gr.Column(scale=1, min_width=200):
                choices = [(name, code) for code, name in LANGUAGES.items()]
                switch = gr.Radio(choices, value=language, show_label=False, container=False, elem_id="language")
        with speech.say(gr.Tab, label="classify"):
            _classify_tab(answers, speech, switch)
        with speech.say(gr.Tab, label="search"):
            _search_tab(answers, speech, switch)
        mark = "(code) => { document.documentElement.lang = code; return code; }"
        switch.change(speech.switch, switch, speech.components, js=mark, show_progress="hidden", **_PRIVATE)
        page.load(None, switch, js=mark)
    return page


def _classify_tab(answers: Answers, speech: Speech, language: gradio.Radio) -> None:
    import gradio as gr

    def classify(picture: str | None, labels: str, prompts: str, language: str) -> dict[str, float] | None:
        probs = _ask(partial(answers.classify, picture, labels, prompts), language, None)
        if probs:
            _note_if_foreign(answers, list(probs), language)
        return probs

    with gr.Row():
        with gr.Column():
            picture = _picture()
            start = {"value": WORDS["labels_hint"][speech.language], "lines": 2, "max_lines": 6}
            labels = speech.say(gr.Textbox, start, label="labels", info="labels_info", placeholder="labels_hint")
            prompts = speech.say(gr.Radio, {"value": "ensemble"}, label="prompts", choices="prompt_choices")
            button = speech.say(gr.Button, {"variant": "primary"}, value="name")
        with gr.Column():
            chart = speech.say(gr.Label, {"num_top_classes": 10, "elem_id": "chart"}, label="probs")
    gr.on([button.click, labels.submit], classify, [picture, labels, prompts, language], chart, **_PRIVATE)


def _search_tab(answers: Answers, speech: Speech, language: gradio.Radio) -> None:
    import gradio as gr

    def by_words(text: str, language: str) -> Asked:
        def search() -> Asked:
            hits = answers.search_words(text)
            _note_if_foreign(answers, [text], language)
            return "closest", text.strip(), hits

        return _ask(search, language, gr.skip())

    def by_picture(picture: str | None, language: str) -> Asked:
        return _ask(lambda: ("closest_picture", "", answers.search_picture(picture)), language, gr.skip())

    first = ("gallery", f"{len(answers.gallery):,}", answers.gallery.first(NUM_HITS))
    asked = gr.State(first)
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            limits = {"max_length": MAX_CHARACTERS, "max_lines": 1}
            text = speech.say(gr.Textbox, limits, label="words", placeholder="words_hint")
            say = speech.say(gr.Button, {"variant": "primary"}, value="by_words")
            speech.say(gr.Markdown, {"elem_classes": "quiet"}, value="or")
            picture = _picture()
            show = speech.say(gr.Button, {}, value="by_picture")
        with gr.Column(scale=3):
            found = gr.HTML(show_hits(first, speech.language), elem_id="found")
    options = _PRIVATE | {"show_progress_on": found}
    gr.on([say.click, text.submit], by_words, [text, language], asked, **options)
    show.click(by_picture, [picture, language], asked, **options)
    gr.on([asked.change, language.change], show_hits, [asked, language], found, show_progress="hidden", **_PRIVATE)


def _picture() -> gradio.Image:
    """An upload that is handed over as it came, for Gradio would decode it before its size is known.

    It is never updated: Gradio would replace it by a new one, which decodes.
    """
    import gradio as gr

    picture: Any = gr.Image(
        type="filepath", sources=["upload"], height=260, show_label=False, buttons=[], placeholder=DROP
    )
    picture.preprocess = lambda payload: payload and payload.path
    return picture


def _ask(question: Callable[[], Any], language: str, otherwise: Any) -> Any:
    """The answer to a question; to one that is refused, a message in the language of the page and `otherwise`."""
    import gradio as gr

    try:
        return question()
    except Refusal as error:
        gr.Warning(WORDS[error.reason][language])
        return otherwise


def _note_if_foreign(answers: Answers, texts: Sequence[str], language: str) -> None:
    import gradio as gr

    if answers.foreign(texts):
        gr.Info(WORDS["foreign"][language])


def show_hits(asked: Asked, language: str) -> str:
    """Pictures under a title, as HTML; whatever their captions hold is shown and nothing more."""
    key, text, hits = asked
    figures = "".join(_figure(hit, language) for hit in hits)
    return f'<section class="found"><p>{WORDS[key][language]} {escape(text)}</p><div>{figures}</div></section>'


def _figure(hit: Hit, language: str) -> str:
    picture = b64encode(hit.sample.members.get(THUMBNAIL, b"")).decode()
    score = "" if hit.score is None else f"<b>{hit.score:.3f}</b>"
    caption = escape(hit.caption(language))
    image = f'<img alt="{caption}" src="data:image/webp;base64,{picture}">'
    return f'<figure title="{caption}">{image}<figcaption>{score}{caption}</figcaption></figure>'
