//! Events and reports to people and programs; the only place that prints.
