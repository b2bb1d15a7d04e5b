"""Write JSON without the `json` module, which would cost 3 ms and a good part of a megabyte."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    Scalar = str | int | float | None


def dump(value: "Scalar | Mapping[str, Scalar | Mapping[str, Scalar]]") -> str:
    """Return `value` as JSON, RFC 8259.

    Bytes that aren't UTF-8 stand as the lone surrogates that Python has for them (PEP 383).
    """
    if value is None:
        return "null"
    if isinstance(value, str):
        return '"' + "".join(map(_character, value)) + '"'
    if isinstance(value, (int, float)):
        return str(value)
    return "{" + ", ".join(f"{dump(name)}: {dump(of)}" for name, of in value.items()) + "}"


def _character(character: str) -> str:
    code = ord(character)
    if character in '"\\':
        return "\\" + character
    if 0x20 <= code < 0x7F:
        return character
    if code > 0xFFFF:  # section 7: a surrogate pair
        code -= 0x10000
        return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
    return f"\\u{code:04x}"
