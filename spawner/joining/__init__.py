"""Joining existing namespaces: finding them, checking them, entering them."""
