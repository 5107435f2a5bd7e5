"""Notifications: channels, routing, the queue of deliveries, and routes of messages."""

from models.notification import queue
from models.notification.channels import NotificationChannel, NotificationRoutingRule
from models.notification.jobs import NotificationJob
from models.notification.log import NotificationLog
from models.notification.routes import DeadLetterMessage, MessageRoute

__all__ = [
    "DeadLetterMessage",
    "MessageRoute",
    "NotificationChannel",
    "NotificationJob",
    "NotificationLog",
    "NotificationRoutingRule",
    "queue",
]
