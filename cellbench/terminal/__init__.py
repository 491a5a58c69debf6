"""Show a run on stderr: `progress` is the display, `remaining` the time left; `output` prints what commands show."""
