"""What people see while it runs, on stderr: `progress`, the time `remaining`, what any command prints (`output`)."""
