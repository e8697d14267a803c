//! The `drivemaster-mon` executable: parse, run, exit code.

fn main() {}
