"""Programs that try the package where users are: other systems, network filesystems, other versions, chaos and faults."""
