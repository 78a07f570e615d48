//! Decoding of logit rolls, one step at a time. Pure; audio thread.
