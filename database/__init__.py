"""How to reach a database: settings, servers, engines, tenants, migrations, telemetry."""
