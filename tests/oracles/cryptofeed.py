"""Raw captures of the cryptofeed library as plain messages: (symbol, is it a REST depth answer, payload)."""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

FRAME = re.compile(rb"[0-9]+(?:\.[0-9]+)?: (\{.*\})\s*", re.DOTALL)
ANSWER = re.compile(rb"https?://\S+/depth\?symbol=([A-Z0-9_]+)\S* -> [0-9.]+: (\{.*\})\s*", re.DOTALL)
SYMBOL = re.compile(rb'"s":"([A-Z0-9_]+)"')


def messages(path: Path) -> Iterator[tuple[str, bool, bytes]]:
    """Yield every stream message and REST depth answer of one file, in the order of the file.

    The symbol of a stream message is its first `s`, which in all of them is the instrument's.
    """
    with gzip.open(path) as lines:
        for line in lines:
            if answer := ANSWER.fullmatch(line):
                yield answer[1].decode(), True, answer[2]
            elif frame := FRAME.fullmatch(line):
                symbol = SYMBOL.search(frame[1])
                yield symbol[1].decode() if symbol else "", False, frame[1]
