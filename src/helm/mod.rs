//! The helm executable: argument vector (pure), run (deadline, SIGTERM, grace, SIGKILL), parse (pure).
