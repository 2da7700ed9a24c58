"""Several hosts that race for a claim on the share that they have mounted."""
