//! Shared by the tests: in-process hosts.
