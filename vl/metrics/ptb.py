"""Words of a caption as coco-caption counts them: Penn Treebank tokens in lower case without punctuation.

coco-caption runs Stanford's PTBTokenizer (a Java program) and drops common punctuation. This is an independent
tokenizer with the same result on captions: contractions, possessives, hyphens, numbers, abbreviations, quotes,
brackets. Known differences, all rare in captions: telephone numbers and mixed fractions (`5 1/2`) are two tokens here
and one with a no-break space inside there (which only ROUGE-L sees); only the commonest emoticons, abbreviations and
forms of web address are one token.
"""

from __future__ import annotations

import re
from functools import cache

_ABBREVIATIONS = """
    mr mrs ms dr prof st ste sgt lt col gen rep sen gov pres capt cpl cmdr adm maj rev hon dept ft vs ave mt pvt
    cf asst attys? e\\.g i\\.e mfg messrs mme mlle pfc spc insp supt det cie adj adv natl sr jr bros? co corp inc
    ltd cos est etc ext intl jan feb mar apr jun jul aug sept? oct nov dec mon tue wed thurs? fri rd sq tel univ
    blvd bldg al as?sn ind ph\\.d fla calif ariz colo conn ga kan ky md mich minn mo mont neb nev okla penn tenn
    va vt wis wyo dak ala plc bhd pty seq rt
"""
_NAMES = {
    "ABBREVIATION": "|".join(sorted(_ABBREVIATIONS.split(), key=len, reverse=True)),
    "APOS": "['’]",
    "LETTER": r"[^\W\d_½¼¾⅓⅔]",
    "ALNUM": "[^\\W_½¼¾⅓⅔]",
    "END": r"(?!\w)",
}
#: Tokens; the first that matches wins. Names in capitals stand for the expressions above.
_TOKENS = (
    r"https?://[^\s<>|()\"]*[^\s<>|()\".,;:!?]|LETTER[\w.-]*\.(?:com|net|org|edu|gov)/[^\s<>|()\"]*",
    r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*|[@#]LETTER\w*",
    r"&(?:amp|lt|gt|quot|apos|nbsp);|</?[A-Za-z][^<>]*>|[:;=]-?[()DPp]END",
    r"[CFcf]\+\+|[CcFf]#END|(?:US|[ACR])\$|[A-Z]+&[A-Z]+END",
    # two words in one: can|not, gon|na, 't|is, is|n't, she|'s
    r"(?i:can(?=notEND)|gon(?=naEND)|wan(?=naEND)|got(?=taEND)|lem(?=meEND)|gim(?=meEND)|more(?=APOSnEND))",
    r"(?i:APOSt(?=(?:is|was)END)|LETTER+(?=n['’`]tEND)|n['’`]tEND|APOS(?:s|m|d|re|ve|ll)END)",
    # one word in spite of its apostrophe
    r"(?i:oAPOSclock|cAPOSmon|olAPOS(?!LETTER)|APOS(?:em|till?|cause)END|(?<!\d)APOS\d\dEND|APOSnAPOS|APOSnEND|APOS[2-9]0sEND)",
    r"(?i:[cdjl]APOSLETTER+)|[A-HJ-XZn]APOSLETTER{2,}|LETTER+[aeiouyAEIOUY]APOS[aeiouA-Z]LETTER*|[yY]APOS(?=LETTER)",
    # numbers, with what joins their digits or follows them
    r"[-+]?\.?\d++(?:[.,:/-]\d++)++(?:-LETTER[\w-]*\b)?|[-+]?\.?\d++(?![-_/]?ALNUM)",
    # what ends in a period: initials, abbreviations
    r"(?:LETTER\.)+LETTER(?:\.(?!ALNUM)|(?!\w|\.ALNUM))(?:-ALNUM+)*|(?<![\w'’])LETTER\.(?!LETTER|\.\.)",
    r"(?i:(?:ABBREVIATION)\.(?!ALNUM)|(?:nos?|figs?|pp?|ops?)\.(?=\s?\d))",
    # words, with what joins their letters and digits
    r"LETTERALNUM*(?:[.!?]LETTERALNUM*)+(?:-ALNUM+)*|ALNUM+(?:[-_/]ALNUM+)*",
    r"\.(?: ?\.){2,}|-{2,}|[?!]{2,}|\*+|_{2,}|``|''|[^\s\u200b\u200d\ufe0f\U00010000-\U0010ffff]",
)
_MARKS = str.maketrans(
    {
        "(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-", "’": "'", "£": "#",
        "€": "$", "¢": "cents", "½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3",
    }
)  # fmt: skip
_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">"}
#: coco-caption compares after lower-casing, so that -lrb- and -rrb-, which it means to drop, stay.
_DROPPED = re.compile(r"[\"“”'‘`.?!,:;–—…-]|``|''|-{2,}|\.(?: ?\.)+|&(?:quot|apos|nbsp);")


@cache
def _pattern() -> re.Pattern[str]:
    pattern = "|".join(_TOKENS)
    for name, meaning in _NAMES.items():
        pattern = pattern.replace(name, meaning)
    return re.compile(pattern)


def tokenize(caption: str) -> list[str]:
    """The tokens of a caption that coco-caption counts."""
    found = (_ENTITIES.get(token, token).translate(_MARKS).lower() for token in _pattern().findall(caption))
    return [part for token in found if not _DROPPED.fullmatch(token) for part in token.split()]
