"""
What can be told of a regular expression without running it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

_SPECIAL = set(".[](){}*+?|^$")
_OPTIONAL = set("*?{")
_ANYTHING = re.compile(r"\^?(\.\*)?\$?")
_OTHERWISE = re.compile(r"\[(:\^?\w+:|\.\w+\.|=\w+=)\]|\{,")
"""What Python takes as well, and means something else by."""


_BROKEN = (
    "bad escape (end of pattern)",
    "min repeat greater than max repeat",
    "missing ), unterminated subpattern",
    "multiple repeat",
    "nothing to repeat",
    "unbalanced parenthesis",
    "unterminated character set",
)
"""What Python says of patterns that RabbitMQ refuses as well."""


@lru_cache(maxsize=4096)  # `re` keeps 512, and a broker may have more policies
def compiled(pattern: str) -> re.Pattern[str] | None:
    """Return a pattern, None if it is no regular expression to Python.

    RabbitMQ's are Perl's; what only they know is rare in patterns over names.
    """
    if _OTHERWISE.search(pattern):
        return None
    try:
        return re.compile(pattern)
    except re.error:
        return None


def broken(pattern: str) -> str | None:
    """Return why a pattern is no regular expression to anyone; None if it may be one.

    What only Perl's know, Python complains about in other words.
    """
    try:
        # What Python takes for something else stands for a letter: it warns of some of it.
        re.compile(_OTHERWISE.sub("x", pattern))
    except re.error as error:
        return str(error) if error.msg.startswith(_BROKEN) else None
    return None


def matches(pattern: str, name: str) -> bool | None:
    """Return whether a policy's pattern matches a name; None if only the broker can tell.

    The broker looks at bytes, where `.` is a part of a letter that is not in ASCII.
    """
    known = compiled(pattern)
    if known is None:
        return None
    matched = known.search(name) is not None
    if pattern.isascii() and name.isascii():
        return matched
    in_bytes = re.search(pattern.encode(), name.encode()) is not None
    return matched if matched == in_bytes else None


def is_anchored(pattern: str) -> bool:
    """Return whether a pattern says where a name begins, in each of its alternatives.

    One that matches everything does not need to.
    """
    return all(
        choice.startswith(("^", r"\A")) or _ANYTHING.fullmatch(choice)
        for choice in alternatives(pattern)
    )


def prefix(pattern: str) -> str:
    """Return what every name that the pattern matches begins with, as far as it is easy to tell."""
    if not pattern.startswith("^") or len(list(alternatives(pattern))) > 1:
        return ""
    choices: list[str] = []
    rest = iter(pattern[1:])
    for character in rest:
        if character in _OPTIONAL:
            return "".join(choices[:-1])
        literal = next(rest, "") if character == "\\" else character
        if (character == "\\" and literal.isalnum()) or character in _SPECIAL:
            break
        choices.append(literal)
    return "".join(choices)


def alternatives(pattern: str) -> Iterator[str]:
    """Yield the alternatives between `|` outside of all brackets."""
    depth, begin, position = 0, 0, 0
    while position < len(pattern):
        match pattern[position]:
            case "\\":
                position += 1
            case "[":
                # A bracket in first place is one of the class's own characters.
                matched = re.compile(r"\[\^?\]?(\\.|[^\]\\])*\]").match(pattern, position)
                position = matched.end() - 1 if matched else len(pattern)
            case "(":
                depth += 1
            case ")":
                depth -= 1
            case "|" if not depth:
                yield pattern[begin:position]
                begin = position + 1
        position += 1
    yield pattern[begin:]
