"""Tenants, accounts, roles, and the API keys of programs."""

from models.auth import joining, links, provisioning, sessions, sign_in
from models.auth.api_keys import ApiKey
from models.auth.identities import AuthIdentity, LoginSession, PasswordResetToken
from models.auth.members import Invitation, TenantMember, UserPreferences
from models.auth.permissions import Permission, RoleTemplate, RoleTemplatePermission
from models.auth.roles import Role, RolePermission, UserPermission, UserRole
from models.auth.tenants import PROFILE_COLUMNS, Tenant, TenantSetting
from models.auth.users import User

__all__ = [
    "PROFILE_COLUMNS",
    "ApiKey",
    "AuthIdentity",
    "Invitation",
    "LoginSession",
    "PasswordResetToken",
    "Permission",
    "Role",
    "RolePermission",
    "RoleTemplate",
    "RoleTemplatePermission",
    "Tenant",
    "TenantMember",
    "TenantSetting",
    "User",
    "UserPermission",
    "UserPreferences",
    "UserRole",
    "joining",
    "links",
    "provisioning",
    "sessions",
    "sign_in",
]
