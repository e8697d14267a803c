//! The command line, as clap reads it. Types only.
