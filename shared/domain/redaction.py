"""Credentials taken out of text before it is stored, logged or shown."""

from __future__ import annotations

import re

_MASK = "[redacted]"

_NAMES = "|".join(
    (
        r"(?:account|access|shared|primary|secondary|master|function|functions|host|api|subscription|sas)[_-]?key",
        r"SharedAccessSignature",
        r"(?:token|secret|client[_-]?assertion|password|passwd|pwd)",
        r"identity[_-]header",
    )
)

_WHOLE = re.compile(
    "|".join(
        (
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
            r"\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?",  # JSON Web Token
            r"(?<![\w+/-])[\w+/-]{40,200}={1,2}(?!=)",  # 256- and 512-bit keys in base64, function keys
            r"\b[\w~.-]{3}8Q~[\w~.-]{31,34}",  # Entra client secret
        )
    )
)
_AFTER_NAME = re.compile(
    # a query parameter (sig and code are the secrets of SAS and function URLs), also when the URL itself is encoded
    r"(?P<query>(?:[?&;]|%3F|%26|\b)sig(?:=|%3D)|(?:[?&]|%3F|%26)code(?:=|%3D))(?:(?!%26)[^\s&;\"'<>])+"
    # name=value, name: value, "name": "value"
    rf"|(?P<name>(?:{_NAMES})\\?[\"']?\s*[=:]\s*)(?:\\?\"(?:[^\"\\]|\\[^\"])*\\?\"|'[^']*'|[^\s;,&\"'<>}}]+)"
    # Authorization schemes, and credentials before the host of a URL
    r"|(?P<scheme>\b(?:Bearer|Basic|SharedKey(?:Lite)?|SharedAccessKey)\s+)[\w.~+/:=-]{16,}"
    r"|(?P<user>[a-z]://)[^\s/@:\"']+:[^\s/@\"']+(?=@)",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """The text with SAS signatures, account and function keys, tokens, passwords and private keys replaced.

    Works on what secrets look like and on the names they travel under, so it errs on the side of masking: a 256-bit
    digest in base64 goes too, one in hexadecimal stays. Redacting twice changes nothing more.
    """
    named = _AFTER_NAME.sub(lambda found: f"{found[found.lastgroup or 0]}{_MASK}", text)
    return _WHOLE.sub(_MASK, named)
