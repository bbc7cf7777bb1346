"""Stiff or unusual phrases of our own, and what a reader expects instead; `test_plain_english.py` looks for them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["PHRASES", "Hit", "find_phrases"]

UNITS = (
    "batch|block|channel|class|column|core|epoch|file|image|layer|line|process|record|report|round|row|run|sample|second|"
    "step|tensor|value"
)
COUNTED = "bytes|column|images|label|line|labels|lines|ms|numbers|one|steps|us|µs"
PART = "a|an|each|its|the|their|this|every"
NODES = "BN|Conv|Convs|DQ|Gemm|GEMM|MatMul|MaxPool|Q|ReLU|ReLUs|batch|sum|pooling|block"

# What not to write (a regular expression, in which a space is any white space), and what to write.
PHRASES: tuple[tuple[str, str], ...] = (
    (r"mend(?:s|ed|ing)?", "fix"),
    (r"so many(?! that)", "N"),
    (r"(?<!there\s)(?:is|are|be|was|were) no (?!longer|more|less|difference|better|worse|faster|slower|match\b)[a-z]+",
     '"is not a ...", or "has no ..."'),
    (r"as (?:it|they) comes?", "default"),
    (r"as they are wanted", "when needed"),
    (r"likewise", '"the same", or repeat the words'),
    (r"(?:is|are|be|all|not) whole", "intact"),
    (r"a whole (?:\.?\w+ )?(?:file|bundle|checkpoint|archive|graph|image)", "an intact ..."),
    (r"whole numbers?", "integer"),
    (r"right answers?", "correct predictions"),
    (r"contenders?", "candidate"),
    (r"takes? in", '"includes", or "covers"'),
    (r"(?:all|in|take|takes|taking|their|its) turns|turns? of (?:a|each|every|one|the)", "round"),
    (r"(?:at|for|in|per) (?:a|each) turn", "round"),
    (r"who (?:opens|needs|wants|runs|calls)", '"the application that ...", or "if you ..."'),
    (r"hand(?:s|ed)? on", '"pass", or "forward"'),
    (r"at first(?! (?:start|use|sight))", '"initially", or "first"'),
    (r"(?:is|are|was|were|be|been) told", '"is given", or "is reported"'),
    (r"ask(?:s|ed)? for(?! (?:a|the) (?:password|passphrase))", '"request", "required", or "given"'),
    (r"may not be (?:compared|read|used|taken)", '"cannot be ..."'),
    (r"(?:is|are|be|stays?|was|were|left|leaves?|leave) as (?:it|they) (?:is|are|was|were)", "unchanged"),
    (rf"(?:{COUNTED}) an? (?:{UNITS})", '"per", as in "ms per run"'),
    (r"per cent", "percent"),
    (r"where (?:it|they|one|there|none|nothing) (?:has|have|needs?|can|does|do|is no|are no)", '"if ..."'),
    (rf"behind (?:{PART}) (?:\w+ )?(?:{NODES})|behind (?:{NODES}|it|them)|right behind", "after"),
    (r"anew", "again"),
    (r"of (?:ours|yours|theirs|its owner's)", '"our ...", "your ...", "their ..."'),
    (r"(?:says?|said|tells?|told|warns?) of", '"say about", "describe", "warn about"'),
    (r"is there (?:too|twice)|are there (?:too|twice)", '"is also present", or "appears twice"'),
    (r"lies? (?:outside|behind|within)|outside of", '"is outside"'),
    (r"judged? by", '"evaluated on", or "decided by"'),
    (r"which (?:is|are) not read", "which is not supported"),
    (r"all (?:\w+ )?(?:have )?alike", "the same for all"),
    (r"if (?:nothing else is|not) said(?: otherwise)?|said otherwise", "unless stated otherwise"),
    (r"put together", '"combined", or "assembled"'),
    (r"left over", '"unexpected", "unused", or "remaining"'),
    (r"equally many", "the same number of"),
    (r"dearer", '"more expensive", or "slower"'),
    (r"from 0 up(?! to)", "of at least 0"),
    (r"(?:to|can|could) be had", "available"),
    (r"would do nothing|does nothing there", "has no effect"),
    (r"(?:allow|allows|allowed) for more", '"raise the limit"'),
    (r"(?:get|gets|got) (?:on|going)", "continue"),
    (r"(?<!run\s)(?<!running\s)the same command again", "running the same command again"),
    (r"not one may", '"none may"'),
    (r"takes? (?:the )?place of", "replaces"),
    (r"(?:at|by) the most", "at most"),
    (r"(?:what|which) was asked", '"what was requested"'),
    (r"known by name", "available by name"),
    (r"belongs? to another", '"is from another"'),
    (r"no other than", "exactly"),
    (r"\d+ in all", '"in total"'),
    (r"nor does", '"and does not"'),
    (r"is to be (?!sure)", '"must be", or "should be"'),
    (r"gives? it up|given up", "stops"),
    (r"(?:two|both|all|ones) of a kind", "of the same kind"),
    (r"come[s]? (?:to|out) (?:an|its) end", '"finishes"'),
    (r"the same holds", "the same applies"),
    (r"makes? up for", "compensates for"),
    (r"holds? 1", "contains 1"),
    (r"(?:a|an) \w+ of (?:its|their|your|his) own", '"its own ..."'),
    (r"stands? (?:in|at|on|under|beside|behind|between|where)", "is"),
    (r"travels? with", '"is stored with"'),
    (r"as (?:it|they) stands?", "unchanged"),
    (r"beside (?:it|them|the|each other|its)", '"next to", or "with"'),
    (r"cores' time", "CPU time"),
    (r"strangers?", '"untrusted source", or "somebody else"'),
)  # fmt: skip
COMPILED = [
    (re.compile(rf"(?<![\w-])(?:{phrase.replace(' ', chr(92) + 's+')})(?![\w-])", re.IGNORECASE), better)
    for phrase, better in PHRASES
]


@dataclass(frozen=True, slots=True)
class Hit:
    """A phrase in a text.

    Attributes:
        phrase: as the text has it, on one line.
        better: what to write.
        line: counted from 1.
    """

    phrase: str
    better: str
    line: int


def find_phrases(text: str) -> Iterator[Hit]:
    """The phrases of the list that the text has; a line break counts as a space."""
    for pattern, better in COMPILED:
        for found in pattern.finditer(text):
            yield Hit(" ".join(found[0].split()), better, 1 + text.count("\n", 0, found.start()))
