"""Users and groups: identities, maps of ids, credentials."""
