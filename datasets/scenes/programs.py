"""GQA-style programs: the steps that find the answer to a question in the scene graph.

A step is `{operation, argument, dependencies}`; dependencies are numbers of earlier steps. `select` finds things by
class (`thing`: any), `filter` by an attribute, `relate` those that stand so to any of the things found, and
`exist`, `count`, `query`, `and`, `or`, `not`, `more`, `fewer` and `same` compute. The last step is the answer.
"""

from __future__ import annotations

from meaning import Sentence
from scene import Phrase
from sprites import names

Step = dict[str, object]


def program(question: Sentence) -> list[Step]:
    """The program of a question; classes and attributes in English, whatever the question's language."""
    steps: list[Step] = []

    def add(operation: str, argument: str = "", *dependencies: int) -> int:
        steps.append({"operation": operation, "argument": argument, "dependencies": list(dependencies)})
        return len(steps) - 1

    def select(thing: Phrase) -> int:
        return narrow(add("select", names("en")[thing.concept] if thing.concept else "thing"), thing)

    def narrow(step: int, thing: Phrase) -> int:
        for attribute in ("size", "colour", "place"):
            if value := getattr(thing, attribute):
                step = add("filter " + attribute, value, step)
        return step

    first, second = question.things[0], question.things[-1]
    match question.form:
        case "how many":
            add("count", "", select(first))
        case "what colour":
            add("query", "colour", select(first))
        case "what":
            add("query", "name", select(first))
        case "there" | "or" | "without":
            exist = [add("exist", "", select(thing)) for thing in question.things]
            if question.form == "without":
                exist[1] = add("not", "", exist[1])
            if len(exist) == 2:
                add("or" if question.form == "or" else "and", "", *exist)
        case "more" | "fewer":
            add(question.form, "", *[add("count", "", select(thing)) for thing in (first, second)])
        case "same colour":
            add("same", "", *[add("query", "colour", select(thing)) for thing in (first, second)])
        case relation:
            near = add("filter name", names("en")[first.concept], add("relate", relation, select(second)))
            add("exist", "", narrow(near, first))
    return steps
