"""Python runtimes as on a Raspberry Pi: an arm64 system in the cache folder, executed by qemu-user on this machine."""
