"""The agreement core: events in, effects out. No clock, no socket, no disk, and no idea what a payload means."""
