"""The fleet: devices, their templates, state, credentials, commands, jobs and firmware."""

from models.device import record_devices
from models.device.commands import DeviceCommand
from models.device.credentials import DeviceActivation, DeviceApiToken, DeviceCertificate
from models.device.firmware import FirmwareVersion, OtaCampaign, OtaDeviceStatus
from models.device.groups import DeviceGroup, DeviceGroupMember
from models.device.jobs import DeviceJob, DeviceJobExecution
from models.device.modules import DeviceModule
from models.device.registry import Device, DeviceExtendedAttributes, DeviceTag
from models.device.sensors import DeviceSensor
from models.device.sites import Site
from models.device.state import DeviceState
from models.device.state_backlog import DeviceStateBacklog
from models.device.templates import (
    DeviceTemplate,
    TemplateCommand,
    TemplateMetric,
    TemplateSlot,
    TemplateSlotCompat,
)
from models.device.transports import CarrierIntegration, DeviceTransport

__all__ = [
    "CarrierIntegration",
    "Device",
    "DeviceActivation",
    "DeviceApiToken",
    "DeviceCertificate",
    "DeviceCommand",
    "DeviceExtendedAttributes",
    "DeviceGroup",
    "DeviceGroupMember",
    "DeviceJob",
    "DeviceJobExecution",
    "DeviceModule",
    "DeviceSensor",
    "DeviceState",
    "DeviceStateBacklog",
    "DeviceTag",
    "DeviceTemplate",
    "DeviceTransport",
    "FirmwareVersion",
    "OtaCampaign",
    "OtaDeviceStatus",
    "Site",
    "TemplateCommand",
    "TemplateMetric",
    "TemplateSlot",
    "TemplateSlotCompat",
    "record_devices",
]
