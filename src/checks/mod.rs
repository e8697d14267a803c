//! The registry of checks: facts are gathered (IO), then judged (pure).
