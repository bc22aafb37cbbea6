"""Which texts name a unit of measurement, and whether the row below a header holds units; pure functions of text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lepton_kit.data.tables.values import FORMS, MISSING, PLACEHOLDERS, number

LOOKED_AT = 20
"""Rows below that are looked at for whether a column holds numbers."""
LONGEST = 40
"""Signs of a text that may still be a unit."""
PREFIXED = """
    m g s A K N J W V F C T H S L l Hz Pa bar mol cd lm lx Wb Gy Sv Bq eV Ω ohm Ohm Wh VA Ah B b bit bps cal t pc
"""
"""Units that take a prefix such as k or m: those of the SI, and what is measured like them."""
PREFIXES = ("", "f", "p", "n", "µ", "μ", "u", "m", "c", "d", "h", "k", "K", "M", "G", "T", "P")
PLAIN = """
    % ‰ ° °c °f °k degc degf deg rad grad min h hr hrs hour hours d day days wk week weeks month months a yr yrs year years
    sec secs second seconds minute minutes eur usd gbp chf jpy cny inr € $ £ ¥ euro euros dollar dollars db dbm dba ppm ppb
    ppt psi rpm mph kph kmh fps knot knots kn kt ft feet in inch inches yd mi mile miles nm ha acre acres lb lbs oz gal pint
    px pixel pixels pcs pc stk stück count counts cnt number index ratio percent meter meters metre metres kilometer
    kilometers kilogram kilograms gram grams liter liters litre litres volt volts watt watts ampere amps celsius fahrenheit
    kelvin ph u iu dpi mmhg atm torr cp bpm unit units years° tsd mio mrd bn thousand million persons people
"""
"""Other units, in lower case."""
_PREFIXED = frozenset(prefix + unit for unit in PREFIXED.split() for prefix in PREFIXES)
_PLAIN = frozenset(PLAIN.split())
_PARTS = re.compile(r"[\s/·⋅*.×()]+|per\s")
_POWER = re.compile(r"(?<=[A-Za-zΩ%°])\^?[-−⁻]?[\d¹²³⁴⁵⁶⁷⁸⁹]+$")


def bare(text: str) -> str:
    """A text without the brackets around it.

    >>> bare("[kg]"), bare(" (°C) "), bare("m/s")
    ('kg', '°C', 'm/s')
    """
    text = text.strip()
    pairs = {"[": "]", "(": ")", "{": "}", "<": ">"}
    while len(text) > 1 and pairs.get(text[0]) == text[-1]:
        text = text[1:-1].strip()
    return text


def is_unit(text: str) -> bool:
    """Whether a text names a unit, alone or as a product or quotient.

    >>> [is_unit(one) for one in ("kg", "°C", "m/s^2", "µg/m³", "EUR", "kWh", "1/min", "[bar]", "USD per kg")]
    [True, True, True, True, True, True, True, True, True]
    >>> [is_unit(one) for one in ("red", "male", "12", "", "Monday", "-")]
    [False, False, False, False, False, False]
    """
    text = bare(text)
    if not text or len(text) > LONGEST:
        return False
    parts = [_POWER.sub("", part) for part in _PARTS.split(text) if part and part != "per"]
    named = [part for part in parts if not part.isdigit()]
    return bool(named) and all(part in _PREFIXED or part.lower() in _PLAIN for part in named)


def units_below(names: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[dict[str, str], bool] | None:
    """(column -> unit, whether it surely is one) of a first row that is no sample; None for a first row like the others.

    Such a row holds texts, or nothing, wherever the rows below hold numbers. It is surely one of units where at least half
    of these texts name units; else it may be a second header.

    >>> units_below(["mass", "kind"], [["kg", ""], ["1.5", "a"], ["2", "b"]])
    ({'mass': 'kg'}, True)
    >>> units_below(["mass", "kind"], [["0.5", "a"], ["1.5", "a"]]) is None
    True
    """
    if len(rows) < 2 or not any(map(str.strip, rows[0])):
        return None
    first, below = rows[0], rows[1 : 1 + LOOKED_AT]
    if not any(is_unit(cell) for cell in first) and sum(map(bool, first)) < 2:
        return None
    if any(_is_number(cell) for cell in first):
        return None
    texts: dict[str, str] = {}
    known = numbers = 0
    for place, (name, cell) in enumerate(zip(names, first, strict=False)):
        rest = [row[place].strip() for row in below if place < len(row)]
        held = [one for one in rest if one.lower() not in PLACEHOLDERS]
        nothing = cell.strip().lower() in PLACEHOLDERS or not bare(cell)
        if held and all(map(_is_number, held)):
            numbers += not nothing
            known += is_unit(cell)
        elif not nothing and cell in rest and not is_unit(cell):
            return None  # a value like those below
        if not nothing and (is_unit(cell) or cell.strip() != bare(cell)):
            texts[name] = bare(cell)
    if known and 2 * known >= numbers:
        return texts, True
    return (texts, False) if numbers > 1 and not known else None


def _is_number(text: str) -> bool:
    return text.strip().lower() not in MISSING and any(
        number(text.strip(), form) is not None for form in FORMS
    )
