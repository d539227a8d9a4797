"""Power limits of devices."""
