//! One verb a file: arguments to stages to report; decides nothing.
