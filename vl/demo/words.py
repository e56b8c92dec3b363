"""The words of the page in every language it speaks, and components whose words follow its language."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vl.demo.answers import MAX_CHARACTERS, MAX_LABELS
from vl.demo.gallery import MAX_BYTES

LANGUAGES = {"en": "English", "zh": "中文"}

#: In all languages at once: an upload cannot change its words (`vl.demo.app`).
DROP = f"Drop a picture or click to choose\n拖入图片，或点击选择\n\nJPEG, PNG, WebP · {MAX_BYTES // 2**20} MB"

#: By key, then by language: a text, or choices, which are pairs of what is shown and what it stands for.
WORDS: dict[str, dict[str, Any]] = {
    "title": {
        "en": "# Pictures and words\nName a picture with your own labels, or find pictures by saying what is in them.",
        "zh": "# 图与文\n用你自己的标签识别图片，或者用一句话找到图片。",
    },
    "classify": {"en": "Name a picture", "zh": "识别图片"},
    "search": {"en": "Search the gallery", "zh": "搜索图库"},
    "labels": {"en": "Labels", "zh": "标签"},
    "labels_info": {
        "en": "Whatever it might be, separated by commas. English and Chinese may be mixed.",
        "zh": "写出各种可能，用逗号分隔。中英文可以混用。",
    },
    "labels_hint": {
        "en": "cat, dog, bird, fish, flower, food, car, house, person, heart",
        "zh": "猫，狗，鸟，鱼，花，食物，汽车，房子，人，心",
    },
    "prompts": {"en": "How a label is said to the model", "zh": "向模型描述标签的方式"},
    "prompt_choices": {
        "en": [("many ways", "ensemble"), ("a photo of a …", "photo"), ("the label alone", "name")],
        "zh": [("多种说法", "ensemble"), ("一张……的照片", "photo"), ("只用标签", "name")],
    },
    "name": {"en": "What is it?", "zh": "这是什么？"},
    "probs": {"en": "How likely each label is, among these", "zh": "各标签的可能性（仅在所给标签之间比较）"},
    "words": {"en": "What are you looking for?", "zh": "想找什么？"},
    "words_hint": {"en": "a smiling face", "zh": "笑脸"},
    "by_words": {"en": "Search by words", "zh": "以文搜图"},
    "or": {"en": "or show a picture that looks like it", "zh": "或者给一张相似的图片"},
    "by_picture": {"en": "Search by picture", "zh": "以图搜图"},
    "gallery": {"en": "From the gallery, which holds", "zh": "图库一览，图片总数："},
    "closest": {"en": "Closest first, with the cosine to:", "zh": "由近及远，数字为余弦相似度："},
    "closest_picture": {
        "en": "Closest to your picture first, with the cosine",
        "zh": "与你的图片由近及远，数字为余弦相似度",
    },
    "no_picture": {"en": "Choose a picture first.", "zh": "请先选择一张图片。"},
    "bad_picture": {
        "en": "This picture cannot be read. It should be a whole JPEG, PNG or WebP of ordinary size.",
        "zh": "无法读取这张图片。请使用完整的、尺寸正常的 JPEG、PNG 或 WebP 文件。",
    },
    "no_labels": {"en": "Write at least one label.", "zh": "请至少写一个标签。"},
    "many_labels": {"en": f"That is more than {MAX_LABELS} labels.", "zh": f"标签超过了 {MAX_LABELS} 个。"},
    "no_words": {"en": "Write what to look for.", "zh": "请写下要找的内容。"},
    "long_text": {
        "en": f"A text may have {MAX_CHARACTERS} characters at most.",
        "zh": f"文字不能超过 {MAX_CHARACTERS} 个字符。",
    },
    "foreign": {
        "en": "The vocabulary of this model lacks most of these words, so expect poor answers.",
        "zh": "此模型的词表缺少其中大部分词语，结果可能不准确。",
    },
}


class Speech:
    """Makes components whose words follow the language of the page."""

    def __init__(self, language: str) -> None:
        self.language = language
        self.components: list[Any] = []
        self._keys: list[dict[str, str]] = []

    def say(self, kind: Callable[..., Any], options: dict[str, Any] | None = None, **keys: str) -> Any:
        """A component; `keys` are properties and the key of `WORDS` each shows."""
        component = kind(**(options or {}), **_spoken(keys, self.language))
        self.components.append(component)
        self._keys.append(keys)
        return component

    def switch(self, language: str) -> list[dict[str, Any]]:
        """The updates that make all components speak another language."""
        import gradio as gr

        return [gr.update(**_spoken(keys, language)) for keys in self._keys]


def _spoken(keys: dict[str, str], language: str) -> dict[str, Any]:
    return {name: WORDS[key][language] for name, key in keys.items()}
