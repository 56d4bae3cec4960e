"""Long work as jobs: a process each, looked after by whichever server started it."""
