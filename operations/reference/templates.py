"""The device templates of the platform tenant, which sync_tenant() copies into every tenant.

Units are given by their symbols.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Template(NamedTuple):
    """A device template and its parts: rows without the columns that refer to the template."""

    row: dict[str, Any]
    metrics: list[dict[str, Any]]
    commands: list[dict[str, Any]] = []  # noqa: RUF012 (never changed)
    slots: list[dict[str, Any]] = []  # noqa: RUF012 (never changed)
    fits: dict[str, list[str]] = {}  # noqa: RUF012 (never changed)
    """Slot to the slugs of the modules that fit."""


def _template(slug: str, name: str, model: str, category: str, description: str) -> dict[str, Any]:
    return {
        "slug": slug,
        "name": name,
        "description": description,
        "category": category,
        "manufacturer": "Lifeline",
        "model": model,
        "is_locked": True,
        "source": "system",
        "transport_defaults": None,
    }


def _metric(
    key: str,
    name: str,
    unit: str,
    low: int | None,
    high: int | None,
    digits: int,
    *,
    kind: str = "float",
    optional: bool = False,
) -> dict[str, Any]:
    return {
        "metric_key": key,
        "display_name": name,
        "data_type": kind,
        "unit": unit,
        "min_value": low,
        "max_value": high,
        "precision_digits": digits,
        "is_required": not optional,
    }


def _command(
    key: str, name: str, description: str, parameters: dict[str, Any], result: dict[str, Any]
) -> dict[str, Any]:
    """A command whose parameters, and whose result, are all required."""
    return {
        "command_key": key,
        "display_name": name,
        "description": description,
        "parameters_schema": _object(parameters),
        "response_schema": _object(result),
    }


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _slot(
    key: str, name: str, interface: str, max_devices: int, description: str
) -> dict[str, Any]:
    return {
        "slot_key": key,
        "display_name": name,
        "slot_type": "expansion",
        "interface_type": interface,
        "max_devices": max_devices,
        "description": description,
    }


_INTERVAL = {"interval_seconds": {"type": "integer", "minimum": 10, "maximum": 86400}}
_PROBE, _HUMIDITY, _GPS = "lifeline-temp-probe", "lifeline-humidity-sensor", "lifeline-gps-tracker"

_GATEWAY = Template(
    _template(
        "lifeline-gateway-v1",
        "Lifeline Gateway v1",
        "GW-V1",
        "gateway",
        "Cellular gateway with two analog inputs, a 1-Wire bus and an FSK radio for modules",
    )
    | {
        "transport_defaults": {
            "ingestion_protocol": "mqtt_direct",
            "physical_connectivity": "cellular",
        }
    },
    metrics=[
        _metric("battery_pct", "Battery level", "%", 0, 100, 1),
        _metric("signal_rssi", "Signal strength", "dBm", -120, 0, 0, kind="integer"),
        _metric("uptime_seconds", "Time since start", "s", 0, None, 0, kind="integer"),
        _metric("cpu_temp", "Processor temperature", "°C", -40, 85, 1, optional=True),
        _metric("memory_pct", "Memory in use", "%", 0, 100, 1, optional=True),
        _metric("supply_voltage", "Supply voltage", "V", 0, 30, 2, optional=True),
    ],
    commands=[
        _command("reboot", "Reboot", "Restart the gateway", {}, {}),
        _command(
            "set_interval",
            "Set reporting interval",
            "Change how often the gateway reports, in seconds",
            _INTERVAL,
            _INTERVAL,
        ),
        _command(
            "factory_reset",
            "Reset to factory settings",
            "Delete all settings of the gateway, which must then be set up again",
            {"confirm": {"const": True}},
            {},
        ),
    ],
    slots=[
        _slot("analog_1", "Analog input 1", "analog", 1, "0 to 10 V or 4 to 20 mA"),
        _slot("analog_2", "Analog input 2", "analog", 1, "0 to 10 V or 4 to 20 mA"),
        _slot("onewire_1", "1-Wire bus", "1-wire", 8, "Digital bus for up to 8 modules"),
        _slot("fsk_radio", "FSK radio", "fsk", 4, "Radio link to up to 4 modules"),
    ],
    fits={
        "analog_1": [_PROBE],
        "analog_2": [_PROBE],
        "onewire_1": [_PROBE, _HUMIDITY],
        "fsk_radio": [_PROBE, _HUMIDITY, _GPS],
    },
)

TEMPLATES: list[Template] = [
    _GATEWAY,
    Template(
        _template(
            _PROBE,
            "Lifeline Temperature Probe",
            "TP-100",
            "expansion_module",
            "Measures the temperature at one point; analog, 1-Wire or radio",
        ),
        [_metric("temperature", "Temperature", "°C", -40, 125, 1)],
    ),
    Template(
        _template(
            _HUMIDITY,
            "Lifeline Humidity Sensor",
            "HT-200",
            "expansion_module",
            "Measures the relative humidity and the temperature of the air; 1-Wire or radio",
        ),
        [
            _metric("humidity", "Relative humidity", "%", 0, 100, 1),
            _metric("temperature", "Air temperature", "°C", -40, 85, 1),
        ],
    ),
    Template(
        _template(
            _GPS,
            "Lifeline GPS Tracker",
            "GPS-300",
            "expansion_module",
            "Reports its position and movement; radio",
        ),
        [
            _metric("latitude", "Latitude", "°", -90, 90, 6),
            _metric("longitude", "Longitude", "°", -180, 180, 6),
            _metric("speed", "Speed over ground", "km/h", 0, 500, 1),
            _metric("heading", "Heading", "°", 0, 360, 1),
        ],
    ),
]
"""The built-in templates."""
