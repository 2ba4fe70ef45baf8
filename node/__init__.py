"""The shell: Trio, TLS, LevelDB, HTTP. Interprets the effects of the cores; `app` shows the whole wiring."""
