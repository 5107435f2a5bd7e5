"""The demonstration: two tenants with devices and telemetry, and what each of them sees."""
