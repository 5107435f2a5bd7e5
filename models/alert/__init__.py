"""Alerts: rules, the alerts they raise, maintenance windows, escalation and on-call schedules."""

from models.alert import raising, who_is_on_call
from models.alert.alerts import Alert, AlertEvent
from models.alert.digest import AlertDigestSettings
from models.alert.escalation import EscalationLevel, EscalationPolicy
from models.alert.maintenance import AlertMaintenanceTarget, AlertMaintenanceWindow
from models.alert.on_call_schedules import (
    OncallLayer,
    OncallOverride,
    OncallResponder,
    OncallSchedule,
)
from models.alert.rules import AlertRule, AlertRuleCondition, AlertRuleTarget

__all__ = [
    "Alert",
    "AlertDigestSettings",
    "AlertEvent",
    "AlertMaintenanceTarget",
    "AlertMaintenanceWindow",
    "AlertRule",
    "AlertRuleCondition",
    "AlertRuleTarget",
    "EscalationLevel",
    "EscalationPolicy",
    "OncallLayer",
    "OncallOverride",
    "OncallResponder",
    "OncallSchedule",
    "raising",
    "who_is_on_call",
]
