"""Notifications: channels, routing rules, delivery jobs, and message routes."""

from models.notification import delivery
from models.notification.channels import NotificationChannel, NotificationRoutingRule
from models.notification.jobs import NotificationJob
from models.notification.log import NotificationLog
from models.notification.message_routes import DeadLetterMessage, MessageRoute

__all__ = [
    "DeadLetterMessage",
    "MessageRoute",
    "NotificationChannel",
    "NotificationJob",
    "NotificationLog",
    "NotificationRoutingRule",
    "delivery",
]
