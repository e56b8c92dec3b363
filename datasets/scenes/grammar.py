"""One grammar, two lexicons: how meanings are said in English and Chinese.

In a rule `{x:a}` is the first thing as "a red cat", `{x:the}` as "the red cat", `{x:s}` as "red cats", `{x:2}` as
"two red cats"; `{y:...}` is the second thing and `{all}` all of them. A rule with variants is a tuple.
"""

from __future__ import annotations

from dataclasses import dataclass

from meaning import Sentence
from scene import Phrase
from sprites import MEASURES, names

LANGUAGES = ("en", "zh")

WORDS = {
    "red": "红色", "orange": "橙色", "yellow": "黄色", "green": "绿色",
    "blue": "蓝色", "purple": "紫色", "black": "黑色", "white": "白色",
    "small": "小", "large": "大",
    "left": "左边", "right": "右边", "top": "上方", "bottom": "下方", "middle": "中间",
    "yes": "是", "no": "否", "thing": "东西",
}  # fmt: skip
_PLACES = {"left": "on the left", "right": "on the right", "top": "at the top", "bottom": "at the bottom",
           "middle": "in the middle"}  # fmt: skip
_NUMBERS = {"en": ("no", "one", "two", "three"), "zh": ("零", "一", "两", "三")}
_PLURALS = {"fish": "fish", "game die": "game dice", "maple leaf": "maple leaves"}

STATEMENTS = {
    "there": {
        "en": ("There is {all}.", "The picture shows {all}.", "One can see {all}."),
        "zh": ("图中有{all}。", "画面里有{all}。", "可以看到{all}。"),
    },
    "count": {
        "en": ("There are exactly {x:n}.", "The picture shows exactly {x:n}."),
        "zh": ("图中正好有{x:n}。", "画面里正好有{x:n}。"),
    },
    "left": {"en": ("{x:a} is to the left of {y:a}.",), "zh": ("{x:a}在{y:a}的左边。",)},
    "right": {"en": ("{x:a} is to the right of {y:a}.",), "zh": ("{x:a}在{y:a}的右边。",)},
    "above": {"en": ("{x:a} is above {y:a}.",), "zh": ("{x:a}在{y:a}的上方。",)},
    "below": {"en": ("{x:a} is below {y:a}.",), "zh": ("{x:a}在{y:a}的下方。",)},
    "bigger": {"en": ("{x:a} is bigger than {y:a}.",), "zh": ("{x:a}比{y:a}大。",)},
    "smaller": {"en": ("{x:a} is smaller than {y:a}.",), "zh": ("{x:a}比{y:a}小。",)},
    "front": {"en": ("{x:a} is in front of {y:a}.",), "zh": ("{x:a}挡住了{y:a}的一部分。",)},
    "behind": {"en": ("{x:a} is partly behind {y:a}.",), "zh": ("{x:a}的一部分被{y:a}挡住了。",)},
    "more": {"en": ("There are more {x:s} than {y:s}.",), "zh": ("{x:s}比{y:s}多。",)},
    "fewer": {"en": ("There are fewer {x:s} than {y:s}.",), "zh": ("{x:s}比{y:s}少。",)},
    "in left": {
        "en": ("The left picture shows {x:a}.", "There is {x:a} in the left picture."),
        "zh": ("左图中有{x:a}。", "左边的图里有{x:a}。"),
    },
    "in right": {
        "en": ("The right picture shows {x:a}.", "There is {x:a} in the right picture."),
        "zh": ("右图中有{x:a}。", "右边的图里有{x:a}。"),
    },
    "both": {"en": ("Both pictures show {x:a}.", "There is {x:a} in each picture."), "zh": ("两张图中都有{x:a}。",)},
    "one": {"en": ("Exactly one of the pictures shows {x:a}.",), "zh": ("只有一张图中有{x:a}。",)},
    "total": {"en": ("There are exactly {x:n} in the two pictures together.",), "zh": ("两张图中一共有{x:n}。",)},
    "more left": {
        "en": ("There are more {x:s} in the left picture than in the right one.",),
        "zh": ("左图中的{x:s}比右图中的多。",),
    },
    "more right": {
        "en": ("There are more {x:s} in the right picture than in the left one.",),
        "zh": ("右图中的{x:s}比左图中的多。",),
    },
    "each": {
        "en": ("The left picture shows {x:a} and the right one {y:a}.",),
        "zh": ("左图中有{x:a},右图中有{y:a}。",),
    },
}

QUESTIONS = {
    "there": {"en": ("Is there {all}?", "Can one see {all}?"), "zh": ("图中有{all}吗?", "能看到{all}吗?")},
    "or": {"en": ("Is there {x:a} or {y:a}?",), "zh": ("图中有{x:a}或者{y:a}吗?",)},
    "without": {"en": ("Is there {x:a} but no {y:}?",), "zh": ("图中有{x:a},但是没有{y:}吗?",)},
    "left": {"en": ("Is {x:the} to the left of {y:the}?",), "zh": ("{x:the}在{y:the}的左边吗?",)},
    "right": {"en": ("Is {x:the} to the right of {y:the}?",), "zh": ("{x:the}在{y:the}的右边吗?",)},
    "above": {"en": ("Is {x:the} above {y:the}?",), "zh": ("{x:the}在{y:the}的上方吗?",)},
    "below": {"en": ("Is {x:the} below {y:the}?",), "zh": ("{x:the}在{y:the}的下方吗?",)},
    "bigger": {"en": ("Is {x:the} bigger than {y:the}?",), "zh": ("{x:the}比{y:the}大吗?",)},
    "smaller": {"en": ("Is {x:the} smaller than {y:the}?",), "zh": ("{x:the}比{y:the}小吗?",)},
    "more": {"en": ("Are there more {x:s} than {y:s}?",), "zh": ("{x:s}比{y:s}多吗?",)},
    "fewer": {"en": ("Are there fewer {x:s} than {y:s}?",), "zh": ("{x:s}比{y:s}少吗?",)},
    "same colour": {"en": ("Do {x:the} and {y:the} have the same colour?",), "zh": ("{x:the}和{y:the}颜色相同吗?",)},
    "how many": {"en": ("How many {x:s} are there?", "How many {x:s} can one see?"), "zh": ("图中有多少{x:m}?",)},
    "what colour": {
        "en": ("What colour is {x:the}?", "What is the colour of {x:the}?"),
        "zh": ("{x:the}是什么颜色的?",),
    },
    "what": {"en": ("What is {x:the}?", "What kind of thing is {x:the}?"), "zh": ("{x:the}是什么?",)},
    "what left": {"en": ("What is to the left of {x:the}?",), "zh": ("{x:the}的左边有什么?",)},
    "what right": {"en": ("What is to the right of {x:the}?",), "zh": ("{x:the}的右边有什么?",)},
    "what above": {"en": ("What is above {x:the}?",), "zh": ("{x:the}的上方有什么?",)},
    "what below": {"en": ("What is below {x:the}?",), "zh": ("{x:the}的下方有什么?",)},
    "what bigger": {"en": ("What is bigger than {x:the}?",), "zh": ("什么比{x:the}大?",)},
    "what smaller": {"en": ("What is smaller than {x:the}?",), "zh": ("什么比{x:the}小?",)},
}

EXPRESSIONS = {
    "the": {"en": ("{x:the}",), "zh": ("{x:the}",)},
    "left": {"en": ("{x:the} to the left of {y:the}",), "zh": ("{y:the}左边的{x:}",)},
    "right": {"en": ("{x:the} to the right of {y:the}",), "zh": ("{y:the}右边的{x:}",)},
    "above": {"en": ("{x:the} above {y:the}",), "zh": ("{y:the}上方的{x:}",)},
    "below": {"en": ("{x:the} below {y:the}",), "zh": ("{y:the}下方的{x:}",)},
    "bigger": {"en": ("{x:the} that is bigger than {y:the}",), "zh": ("比{y:the}大的{x:}",)},
    "smaller": {"en": ("{x:the} that is smaller than {y:the}",), "zh": ("比{y:the}小的{x:}",)},
    "front": {"en": ("{x:the} in front of {y:the}",), "zh": ("挡住{y:the}的{x:}",)},
    "behind": {"en": ("{x:the} partly behind {y:the}",), "zh": ("被{y:the}挡住的{x:}",)},
    "most left": {"en": ("the leftmost {x:}",), "zh": ("最左边的{x:}",)},
    "most right": {"en": ("the rightmost {x:}",), "zh": ("最右边的{x:}",)},
    "most above": {"en": ("the topmost {x:}",), "zh": ("最上面的{x:}",)},
    "most below": {"en": ("the lowest {x:}",), "zh": ("最下面的{x:}",)},
}

#: Where an answer is seen: a statement whose first thing is known from the question.
RATIONALES = {
    relation: {language: tuple(rule.replace("{x:a}", "{x:the}") for rule in rules) for language, rules in both.items()}
    for relation, both in STATEMENTS.items()
}


def say(rules: dict, meaning: Sentence, language: str, style: int = 0) -> str:
    """A meaning in words; `style` picks one of the rule's variants."""
    variants = rules[meaning.form][language]
    nouns = [_NOUNS[language](thing, meaning.number) for thing in meaning.things]
    slots = {"x": nouns[0], "y": nouns[-1], "all": _join(language, [f"{noun:a}" for noun in nouns])}
    text = variants[style % len(variants)].format(**slots)
    return text[:1].upper() + text[1:] if text[-1] in ".?" else text


def phrase(thing: Phrase, language: str, spec: str = "a") -> str:
    """A thing in words: "a red cat", 一只红色的猫."""
    return format(_NOUNS[language](thing), spec)


def word(value: str, language: str) -> str:
    """A colour, size, place or answer."""
    return value if language == "en" else WORDS.get(value, value)


def _join(language: str, parts: list[str]) -> str:
    comma, last = (", ", " and ") if language == "en" else ("、", "和")
    return last.join([comma.join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


@dataclass(frozen=True)
class _English:
    thing: Phrase
    number: int = 0

    def __format__(self, spec: str) -> str:
        if spec == "s":
            return self._words(plural(self._name))
        if spec == "n":
            return f"{_NUMBERS['en'][self.number]} {self:s}"
        words = self._words(self._name)
        return f"{spec}{'n' * (spec == 'a' and words[0] in 'aeiou')} {words}" if spec else words

    @property
    def _name(self) -> str:
        return names("en")[self.thing.concept] if self.thing.concept else "thing"

    def _words(self, noun: str) -> str:
        place = _PLACES.get(self.thing.place)
        return " ".join(word for word in (self.thing.size, self.thing.colour, noun, place) if word)


@dataclass(frozen=True)
class _Chinese:
    thing: Phrase
    number: int = 0

    def __format__(self, spec: str) -> str:
        thing, measure = self.thing, MEASURES.get(self.thing.concept, "个")
        place = f"位于{WORDS[thing.place]}的" if thing.place else ""
        colour = f"{WORDS[thing.colour]}的" if thing.colour else ""
        words = place + colour + WORDS.get(thing.size, "") + (names("zh")[thing.concept] if thing.concept else "东西")
        before = {"a": "一" + measure, "n": _NUMBERS["zh"][self.number] + measure, "m": measure, "the": f"那{measure}"}
        return before.get(spec, "") + words


_NOUNS = {"en": _English, "zh": _Chinese}


def plural(noun: str) -> str:
    """The regular plural, and the exceptions among our names."""
    if noun in _PLURALS:
        return _PLURALS[noun]
    if noun[-1] == "y" and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "sh", "ch", "x", "tomato", "mango", "cactus")) else "s")
