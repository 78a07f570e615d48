//! Queues and the worker.
