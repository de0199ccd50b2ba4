"""What the guide promises, word for word, for tests at every level to hold the driver to."""

DATABASE_KEYS = frozenset(
    {
        "bind_ip",
        "bind_port",
        "context",
        "distributed",
        "docker_api_version",
        "docker_last_synched",
        "docker_socket",
        "health_check_enabled",
        "health_check_interval",
        "ip_lookup",
        "networks",
        "tls_ca_cert",
        "tls_key_cert",
        "tls_private_key",
    }
)
