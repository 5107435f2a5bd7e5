"""The units of measure of industrial data: 52 of them in 10 categories.

Names are spelled as the SI brochure spells them; symbols are unique here, since device templates
name units by symbol.
"""

from __future__ import annotations

from typing import Any

_BY_CATEGORY: dict[str, dict[str, str]] = {
    "Temperature": {
        "degree Celsius": "°C",
        "degree Fahrenheit": "°F",
        "kelvin": "K",
        "degree Rankine": "°R",
    },
    "Pressure": {
        "pascal": "Pa",
        "kilopascal": "kPa",
        "megapascal": "MPa",
        "millibar": "mbar",
        "bar": "bar",
        "pound per square inch": "psi",
        "millimetre of mercury": "mmHg",
    },
    "Flow": {
        "litre per second": "L/s",
        "litre per minute": "L/min",
        "cubic metre per hour": "m³/h",
        "US gallon per minute": "gal/min",
        "kilogram per hour": "kg/h",
    },
    "Level": {
        "millimetre": "mm",
        "centimetre": "cm",
        "metre": "m",
        "inch": "in",
        "foot": "ft",
    },
    "Electrical": {
        "volt": "V",
        "millivolt": "mV",
        "ampere": "A",
        "milliampere": "mA",
        "ohm": "Ω",
        "watt": "W",
        "kilowatt": "kW",
        "kilowatt hour": "kWh",
        "decibel-milliwatt": "dBm",
    },
    "Speed": {
        "metre per second": "m/s",
        "kilometre per hour": "km/h",
        "mile per hour": "mph",
        "revolution per minute": "rpm",
    },
    "Mass": {
        "gram": "g",
        "kilogram": "kg",
        "tonne": "t",
        "pound": "lb",
    },
    "Volume": {
        "millilitre": "mL",
        "litre": "L",
        "cubic metre": "m³",
        "US gallon": "gal",
    },
    "Time": {
        "millisecond": "ms",
        "second": "s",
        "minute": "min",
        "hour": "h",
        "hertz": "Hz",
    },
    "Dimensionless": {
        "percent": "%",
        "part per million": "ppm",
        "degree": "°",
        "pH": "pH",
        "piece": "pcs",
    },
}

UNITS: list[dict[str, Any]] = [
    {"name": name, "symbol": symbol, "category": category}
    for category, units in _BY_CATEGORY.items()
    for name, symbol in units.items()
]
"""Rows of units_of_measure."""
